package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unserved are codes that never reach the private plane: of opening a data folder,
// of what the handlers themselves get wrong, and of calls that no operation makes.
var unserved = []string{
	"registry_dsn", "registry_too_new", "key_invalid", "actor_invalid", "too_many_people",
	"purge_not_due", "purge_not_found", "receipt_invalid", "removal_waits", "erasure_incomplete",
}

// TestCatalogue holds the catalogue against the sources: each code that they make
// is in it, with that status, and it has no others; each is documented somewhere.
func TestCatalogue(t *testing.T) {
	made := map[string]map[int]string{} // code → status → where
	note := func(code string, status int, where string) {
		if made[code] == nil {
			made[code] = map[int]string{}
		}
		made[code][status] = where
	}
	// named is for codes that have a name: code := "…", codeElsewhere = "…".
	named := func(name, value ast.Expr, path string) {
		id, isName := name.(*ast.Ident)
		text, isText := value.(*ast.BasicLit)
		if isName && isText && strings.HasPrefix(id.Name, "code") && text.Kind == token.STRING {
			code, _ := strconv.Unquote(text.Value)
			if entry, ok := catalogue[code]; ok {
				note(code, entry.status, path)
			}
		}
	}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata"):
			return err
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if code, status, ok := problemOf(n); ok {
					note(code, status, path)
				}
			case *ast.AssignStmt:
				named(n.Lhs[0], n.Rhs[0], path)
			case *ast.ValueSpec:
				for i, value := range n.Values {
					named(n.Names[i], value, path)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(made) < 50 {
		t.Fatalf("found only %d codes in the sources", len(made))
	}
	for status, code := range codes {
		note(code, status, "problems.go")
	}
	note("internal", 500, "problem.go")
	for _, code := range slices.Sorted(maps.Keys(made)) {
		for status, where := range made[code] {
			if slices.Contains(unserved, code) {
				continue
			}
			if entry, ok := catalogue[code]; !ok {
				t.Errorf("%s makes the problem %d %s; put it into the catalogue and into the operations that answer it, or, when none does, into unserved", where, status, code)
			} else if entry.status != status {
				t.Errorf("%s makes %s with status %d, the catalogue says %d", where, code, status, entry.status)
			}
		}
	}
	documented := documentedCodes()
	for _, code := range slices.Sorted(maps.Keys(catalogue)) {
		if made[code] == nil {
			t.Errorf("the catalogue has %s, which nothing makes", code)
		}
		// Those of addresses that no operation has, and what any operation could meet.
		if !documented[code] && !slices.Contains([]string{"not_found", "method_not_allowed", "not_acceptable", "starting", "registry_corrupt"}, code) {
			t.Errorf("no operation documents %s", code)
		}
	}
}

// problemOf reads the code and status of problem.New(…) and writeProblem(w, …).
func problemOf(call *ast.CallExpr) (code string, status int, ok bool) {
	args := call.Args
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		pkg, isName := f.X.(*ast.Ident)
		if !isName || pkg.Name != "problem" || f.Sel.Name != "New" {
			return "", 0, false
		}
	case *ast.Ident:
		if f.Name != "writeProblem" || len(args) < 3 {
			return "", 0, false
		}
		args = args[1:]
	default:
		return "", 0, false
	}
	if len(args) < 2 {
		return "", 0, false
	}
	name, isLiteral := args[1].(*ast.BasicLit)
	if !isLiteral {
		return "", 0, false // passed on from somewhere
	}
	code, _ = strconv.Unquote(name.Value)
	switch s := args[0].(type) {
	case *ast.BasicLit:
		status, _ = strconv.Atoi(s.Value)
	case *ast.SelectorExpr:
		status = statusNamed(s.Sel.Name)
	default:
		return "", 0, false
	}
	return code, status, status != 0 // 0: passed on from somewhere
}

// statusNamed is the number of http.StatusX.
func statusNamed(name string) int {
	for status := 400; status < 600; status++ {
		if "Status"+strings.NewReplacer(" ", "", "-", "", "'", "").Replace(http.StatusText(status)) == name {
			return status
		}
	}
	return 0
}

func documentedCodes() map[string]bool {
	out := map[string]bool{}
	for _, r := range routes() {
		for status, response := range r.Responses {
			if status >= "400" {
				for _, code := range response.Content[problemType].Schema.AllOf[1].Properties["code"].Enum {
					out[code.(string)] = true
				}
			}
		}
	}
	return out
}

// TestServedDocument: what is served is what the tests check against, and each
// operation says what it is, who may call it and what it can answer.
func TestServedDocument(t *testing.T) {
	p := serve(t, t.TempDir(), nil)
	resp, served := p.must(http.MethodGet, p.at.Private+"/openapi.json", "")
	own, err := json.Marshal(document())
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.StatusCode, err)
	}
	var a, b any
	if err := json.Unmarshal(served, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(own, &b); err != nil {
		t.Fatal(err)
	}
	delete(a.(map[string]any), "info")
	delete(b.(map[string]any), "info")
	if x, y := canonical(t, a), canonical(t, b); x != y {
		t.Errorf("the served document is not the code's: %d and %d bytes", len(x), len(y))
	}
	if a.(map[string]any)["openapi"] != "3.1.0" {
		t.Error("not OpenAPI 3.1")
	}
	for _, r := range routes() {
		if r.Summary == "" || len(r.Tags) == 0 || r.Extensions["x-roles"] == nil {
			t.Errorf("%s lacks a summary, a tag or roles", r.OperationID)
		}
		success := 0
		for status := range r.Responses {
			if status < "300" {
				success++
			} else if status < "400" && status != "304" || status == "default" {
				t.Errorf("%s documents the status %s", r.OperationID, status)
			}
		}
		if success != 1 {
			t.Errorf("%s documents %d kinds of success", r.OperationID, success)
		}
	}
}

func canonical(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
