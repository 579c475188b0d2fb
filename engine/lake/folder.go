package lake

import (
	"fmt"
	"path"
	"path/filepath"

	"mailwake/engine/blob"
)

// Folder is the local folder, absolute, under which Local finds all files of the
// organisation's table, and nothing of any other. It need not exist yet.
func (l *Lake) Folder(org string) (string, error) {
	if err := checkOrg(org); err != nil {
		return "", err
	}
	folder, local := blob.LocalPath(l.opts.Store, l.tableKey(org))
	if !local {
		folder = filepath.Join(l.opts.CacheDir, filepath.FromSlash(l.tableKey(org)))
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", fmt.Errorf("locate files of %s: %w", org, err)
	}
	return folder, nil
}

// Prefix is the key prefix, with a slash at its end, of everything in the store
// that belongs to the organisation, its table and what others keep beside it.
func (l *Lake) Prefix(org string) string { return path.Join(l.opts.Warehouse, org) + "/" }
