// Package mailwake_test holds the architecture as a test: who may import whom,
// which package owns which heavy dependency, one package comment each, and the
// size of files.
package mailwake_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport lists, per package, the packages of this module that it may import.
var mayImport = map[string][]string{
	"engine/event":         {},
	"engine/problem":       {},
	"engine/classify":      {"engine/event"},
	"engine/blob":          {},
	"engine/blob/blobtest": {"engine/blob"},
	"engine/wal":           {},
	"engine/wal/waltest":   {"engine/wal"},
	"engine/registry":      {"engine/event", "engine/problem"},
	"engine/lake":          {"engine/event", "engine/blob"},
	"engine/rollup":        {"engine/event", "engine/blob"},
	"engine":               {"engine/event", "engine/blob", "engine/lake", "engine/registry", "engine/wal"},
	"ingest/bulk":          {"engine/event", "engine/classify", "engine/problem", "engine/registry"},
	"ingest/token":         {"engine/event"},
	"ingest/message":       {"engine/problem"},
	"ingest/follow":        {"engine/event", "engine/problem", "engine/registry", "ingest/message", "ingest/token"},
	"ingest/reply":         {"engine/event", "engine/problem", "engine/registry", "ingest/token"},
	"ingest":               {"engine", "engine/event", "engine/classify", "engine/problem", "engine/registry", "engine/wal", "engine/blob", "ingest/bulk", "ingest/follow", "ingest/message", "ingest/reply", "ingest/token"},
	"query":                {"engine", "engine/event", "engine/lake", "engine/problem", "engine/registry", "engine/rollup"},
	"retention":            {"engine", "engine/blob", "engine/classify", "engine/event", "engine/lake", "engine/problem", "engine/registry", "engine/rollup"},
	"bench":                {"engine/event", "engine/registry"}, // the latter for what no door shows: the cost of one Decide
}

// owners lists, per heavy dependency, the only places that may import it.
var owners = map[string][]string{
	"github.com/Azure/azure-sdk-for-go/sdk/storage":    {"engine/blob"},
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity": {"engine/blob"},
	"github.com/hashicorp/raft":                        {"engine/wal"},
	"github.com/hashicorp/raft-wal":                    {"engine/wal"},
	"github.com/uptrace/bun":                           {"engine/registry"},
	"github.com/RoaringBitmap/roaring":                 {"engine/registry"},
	"github.com/apache/iceberg-go":                     {"engine/lake"},
	"github.com/twmb/avro":                             {"engine/lake"},
	"github.com/apache/arrow-go/v18/parquet":           {"engine/lake", "query"},
	"github.com/parquet-go/parquet-go":                 {"engine/lake", "query"},
	"modernc.org/sqlite":                               {"engine/registry", "engine/lake"},
	"golang.org/x/net/html":                            {"ingest/follow"},
	"github.com/valyala/fasthttp":                      {"ingest", "bench"},
	"github.com/jhillyerd/enmime":                      {"ingest/reply"},
	"github.com/emersion/go-smtp":                      {"ingest"},
	"github.com/duckdb/duckdb-go":                      {"query"},
	"github.com/duckdb/duckdb-go-bindings":             {"query"},
	"github.com/elastic/go-seccomp-bpf":                {"query"},
	"github.com/HdrHistogram/hdrhistogram-go":          {"bench"},
	"github.com/alecthomas/kong":                       {"cmd/mailwake"},
	"github.com/peterh/liner":                          {"cmd/mailwake"},
	"github.com/BurntSushi/toml":                       {"cmd/mailwake"},
	"github.com/prometheus/client_golang":              {"cmd/mailwake"},
}

const (
	module   = "mailwake/"
	maxLines = 400
)

type source struct {
	dir, path string
	test      bool
	file      *ast.File
	fset      *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || len(p) > 1 && strings.HasPrefix(p, ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		all = append(all, source{dir: path.Dir(filepath.ToSlash(p)), path: p, test: strings.HasSuffix(p, "_test.go"), file: f, fset: fset})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d Go files; run the test in the module's root", len(all))
	}
	return all
}

func imports(f *ast.File) []string {
	var names []string
	for _, i := range f.Imports {
		names = append(names, strings.Trim(i.Path.Value, `"`))
	}
	return names
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.dir, "cmd/") || s.dir == "." {
			continue
		}
		allowed, known := mayImport[s.dir]
		if !known {
			t.Errorf("%s: package %s is not in the table; decide what it may import", s.path, s.dir)
		}
		for _, name := range imports(s.file) {
			if own, ok := strings.CutPrefix(name, module); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s, which %s may not", s.path, name, s.dir)
			}
		}
	}
}

func TestOwners(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, name := range imports(s.file) {
			for dependency, homes := range owners {
				if name != dependency && !strings.HasPrefix(name, dependency+"/") {
					continue
				}
				if !slices.ContainsFunc(homes, func(home string) bool { return s.dir == home || strings.HasPrefix(s.dir, home+"/") }) {
					t.Errorf("%s imports %s, which belongs to %v", s.path, name, homes)
				}
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	docs := map[string]int{}
	for _, s := range sources(t) {
		if s.test && s.dir != "." {
			continue
		}
		docs[s.dir] += 0
		if s.file.Doc != nil && !strings.HasPrefix(s.file.Doc.Text(), "go:build") {
			docs[s.dir]++
		}
	}
	for dir, n := range docs {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want one", dir, n)
		}
	}
}

func TestFileSizes(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.fset.File(s.file.Pos()).LineCount(); n > maxLines {
			t.Errorf("%s has %d lines; split it (at most %d)", s.path, n, maxLines)
		}
	}
}
