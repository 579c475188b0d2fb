package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

// storeFlags say where a node's data is. Every flag is also an environment
// variable, MAILWAKE_ and its name, and a key of the TOML file; the command line
// wins over the environment, the environment over the file.
type storeFlags struct {
	Data     string `help:"Folder of this node: log, catalog, registry, keys, cache." default:"./mailwake-data" type:"path" placeholder:"DIR"`
	Storage  string `help:"Where the Parquet tables live: file:///folder or azblob://container[/prefix]?account=NAME; default is DIR/storage." placeholder:"URL"`
	Registry string `help:"Database of organisations, emails and keys: sqlite:///file; default is DIR/registry.db." placeholder:"URL"`
	Catalog  string `help:"SQLite file of the Iceberg catalog; default is DIR/catalog.db." type:"path" placeholder:"FILE"`
	Node     uint8  `help:"Number of this node among those that share one storage." default:"0"`
	CacheMB  int64  `help:"Disk for local copies of blobs, in MB; unused with a local folder." name:"cache-mb" default:"4096"`

	LogLimitMB int64         `help:"Unflushed log, in MB, at which recording stops." name:"log-limit-mb" default:"4096"`
	FlushRows  int           `help:"Events of one organisation that start a flush." default:"262144"`
	FlushMB    int64         `help:"Unflushed MB of one organisation that start a flush." name:"flush-mb" default:"64"`
	FlushAge   time.Duration `help:"Age of the oldest unflushed event that starts a flush." default:"1m"`
	QueryMB    int64         `help:"Memory for queries of one organisation, in MB." name:"query-mb" default:"1024"`
}

// AfterApply fills the places that follow from the data folder.
func (f *storeFlags) AfterApply() error {
	f.Data = filepath.Clean(f.Data)
	if f.Storage == "" {
		f.Storage = "file://" + filepath.Join(f.Data, "storage")
	}
	if f.Registry == "" {
		f.Registry = "sqlite://" + filepath.Join(f.Data, "registry.db")
	}
	if f.Catalog == "" {
		f.Catalog = filepath.Join(f.Data, "catalog.db")
	}
	return nil
}

// listenFlags say where a server answers.
type listenFlags struct {
	Public       string         `help:"Address of the public plane: pixels and links." default:"127.0.0.1:8025" placeholder:"HOST:PORT"`
	Private      string         `help:"Address of the private plane: API, KPIs, SQL, metrics." default:"127.0.0.1:8026" placeholder:"HOST:PORT"`
	PublicURL    string         `help:"How mail clients reach the public plane, as written into mails; default is http:// and its address." placeholder:"URL"`
	TrustedProxy []netip.Prefix `help:"Networks whose X-Forwarded-For is believed." placeholder:"CIDR"`
	KeepNetwork  bool           `help:"Store the /24 or /48 network of mail clients."`
	MaxConns     int            `help:"Open connections on the public plane." default:"16384"`
	lmtpFlags
	LogFormat string `help:"Format of log lines." enum:"text,json" default:"text"`
}

// loadTOML reads flags from a TOML file. A key that is no flag is an error: it
// would otherwise be a setting silently not made.
func loadTOML(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	if _, err := toml.NewDecoder(r).Decode(&values); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return tomlFlags(values), nil
}

type tomlFlags map[string]any

// Validate reports keys that no command has as a flag.
func (t tomlFlags) Validate(app *kong.Application) error {
	var names []string
	_ = kong.Visit(app, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok {
			names = append(names, f.Name)
		}
		return next(nil)
	})
	for key := range t {
		if !slices.Contains(names, strings.ReplaceAll(key, "_", "-")) {
			return fmt.Errorf("configuration: unknown key %q; keys are flag names, such as flush-age", key)
		}
	}
	return nil
}

// Resolve returns the file's value unless the environment has one.
func (t tomlFlags) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	if v, ok := t[flag.Name]; ok {
		return v, nil
	}
	return t[strings.ReplaceAll(flag.Name, "-", "_")], nil
}
