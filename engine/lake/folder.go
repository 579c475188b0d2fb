package lake

import (
	"fmt"
	"path/filepath"

	"mailwake/engine/blob"
)

// Folder is the local folder, absolute, under which Local finds all files of the
// organisation's table, and nothing of any other. It need not exist yet.
func (l *Lake) Folder(org string) (string, error) {
	if err := checkOrg(org); err != nil {
		return "", err
	}
	path, local := blob.LocalPath(l.opts.Store, l.tableKey(org))
	if !local {
		path = filepath.Join(l.opts.CacheDir, filepath.FromSlash(l.tableKey(org)))
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("locate files of %s: %w", org, err)
	}
	return path, nil
}
