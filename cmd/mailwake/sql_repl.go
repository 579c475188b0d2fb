package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/peterh/liner"

	"mailwake/query"
)

const replHelp = `A statement ends with ; and may have many lines.
  .help            this
  .schema [TABLE]  tables and columns
  .kpis            the KPIs
  .kpi NAME [parameter=value …]
  .format NAME     table, json, ndjson or csv
  .output FILE     write the next result there, in any format; alone: to the terminal again
  .timer on|off    say how long answers take
  .pager on|off    show long answers with $PAGER, or less
  .quit            or Ctrl-D
Tab completes tables, columns, functions and KPIs; Ctrl-C ends a statement.
`

// repl is the prompt of mailwake sql.
type repl struct {
	cmd    *sqlCmd
	env    *env
	client *client
	words  []string // what Tab knows
	schema query.SQLSchema
	kpis   []query.KPI
	timer  bool
	pager  bool
	format string
	output string
}

func newREPL(cmd *sqlCmd, e *env, c *client) *repl {
	return &repl{cmd: cmd, env: e, client: c, timer: true, pager: true, format: cmd.Format}
}

func (r *repl) run(ctx context.Context) error {
	if err := r.learn(ctx); err != nil {
		return err
	}
	// Ctrl-C ends what runs and not the prompt; see show.
	signal.Reset(os.Interrupt)
	line := liner.NewLiner()
	defer func() { _ = line.Close() }() // it gives the terminal back as well as it can
	line.SetCtrlCAborts(true)
	line.SetTabCompletionStyle(liner.TabPrints)
	line.SetWordCompleter(r.complete)
	history := historyFile()
	if f, err := os.Open(history); err == nil {
		_, _ = line.ReadHistory(f) // a prompt without a past is a prompt
		f.Close()
	}
	defer saveHistory(line, history)
	fmt.Fprintf(r.env.out, "mailwake %s, organisation %s. .help for help.\n", buildVersion(), r.cmd.Org)
	for statement := ""; ; {
		prompt := "mailwake> "
		if statement != "" {
			prompt = "     ...> "
		}
		text, err := line.Prompt(prompt)
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			statement = ""
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(r.env.out)
			return nil
		case err != nil:
			return fmt.Errorf("read line: %w", err)
		}
		done := false
		if statement, done = r.enter(ctx, statement, text, line.AppendHistory); done {
			return nil
		}
	}
}

// enter takes a line and returns what is still open of a statement, and whether to
// leave.
func (r *repl) enter(ctx context.Context, statement, text string, remember func(string)) (rest string, leave bool) {
	trimmed := strings.TrimSpace(text)
	if statement == "" && strings.HasPrefix(trimmed, ".") {
		remember(trimmed)
		leave, err := r.command(ctx, strings.Fields(trimmed))
		if err != nil {
			fmt.Fprintln(r.env.err, sentence(err))
		}
		return "", leave
	}
	if statement += text; trimmed == "" && strings.TrimSpace(statement) == "" {
		return "", false
	}
	if !ended(statement) {
		return statement + "\n", false
	}
	remember(strings.Join(strings.Fields(statement), " "))
	if err := r.show(ctx, func(ctx context.Context, format string) (io.ReadCloser, error) {
		return r.cmd.ask(ctx, r.client, statement, format)
	}); err != nil {
		fmt.Fprintln(r.env.err, sentence(err))
	}
	return "", false
}

// beside is what a semicolon in it ends nothing: texts, quoted names and comments,
// the last ones perhaps still open.
var beside = regexp.MustCompile(`(?s)'(?:[^']|'')*(?:'|$)|"(?:[^"]|"")*(?:"|$)|\$\$.*?(?:\$\$|$)|--[^\n]*|/\*.*?(?:\*/|$)`)

// ended reports whether a semicolon ends the statement, be it before a comment.
func ended(statement string) bool {
	rest := beside.ReplaceAllStringFunc(statement, func(part string) string {
		if strings.HasPrefix(part, "--") || strings.HasPrefix(part, "/*") && strings.HasSuffix(part, "*/") {
			return ""
		}
		return "x"
	})
	return strings.HasSuffix(strings.TrimSpace(rest), ";")
}

func (r *repl) command(ctx context.Context, words []string) (leave bool, err error) {
	argument := ""
	if len(words) > 1 {
		argument = words[1]
	}
	switch words[0] {
	case ".quit", ".exit":
		return true, nil
	case ".help":
		fmt.Fprint(r.env.out, replHelp)
	case ".schema":
		return false, printSchema(r.env.out, r.schema, argument)
	case ".kpis":
		for _, k := range r.kpis {
			fmt.Fprintf(r.env.out, "%-28s %s\n", k.Name, k.Title)
		}
	case ".kpi":
		return false, r.kpi(ctx, words[1:])
	case ".format":
		if _, err := query.ParseFormat(argument); err != nil {
			return false, err
		}
		r.format = argument
	case ".output":
		r.output = argument
	case ".timer":
		r.timer = argument != "off"
	case ".pager":
		r.pager = argument != "off"
	default:
		return false, fmt.Errorf("there is no %s; .help lists what there is", words[0])
	}
	return false, nil
}

func (r *repl) kpi(ctx context.Context, words []string) error {
	if len(words) == 0 {
		return errors.New("name a KPI; .kpis lists them")
	}
	params := url.Values{}
	for _, word := range words[1:] {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return fmt.Errorf("%s is no parameter=value", word)
		}
		params.Set(name, value)
	}
	return r.show(ctx, func(ctx context.Context, format string) (io.ReadCloser, error) {
		params.Set("format", format)
		return r.client.call(ctx, http.MethodGet, r.cmd.orgPath("/kpis/"+url.PathEscape(words[0])), params, nil)
	})
}

// show asks and writes the answer where it belongs; Ctrl-C ends the asking.
func (r *repl) show(ctx context.Context, ask func(ctx context.Context, format string) (io.ReadCloser, error)) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	start := time.Now()
	rows, err := ask(ctx, r.format)
	if ctx.Err() != nil {
		return errInterrupted
	} else if err != nil {
		return err
	}
	defer rows.Close()
	flags := rowFlags{Format: r.format, Output: r.output}
	r.output = ""
	if flags.Output != "" || !r.pager {
		err = flags.write(r.env, rows)
	} else {
		err = page(r.env, rows)
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err == nil && r.timer {
		fmt.Fprintf(r.env.out, "(%s)\n", time.Since(start).Round(time.Millisecond))
	}
	return err
}

var errInterrupted = errors.New("interrupted")

// pageLines is how many lines are shown without a pager.
const pageLines = 40

// page shows rows, with the pager when they are many.
func page(e *env, rows io.Reader) error {
	head := make([]byte, 0, 64<<10)
	for len(head) < cap(head) && strings.Count(string(head), "\n") <= pageLines {
		n, err := rows.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	all := io.MultiReader(strings.NewReader(string(head)), rows)
	pager := os.Getenv("PAGER")
	if pager == "" {
		pager = "less"
	}
	program, err := exec.LookPath(pager)
	if strings.Count(string(head), "\n") <= pageLines || err != nil {
		_, err := io.Copy(e.out, all)
		return err
	}
	cmd := exec.Command(program) //nolint:gosec // what the user says they read with
	cmd.Env = append(os.Environ(), "LESS=FRSX", "LESSSECURE=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = all, e.out, e.err
	return cmd.Run()
}

// learn asks the server for what Tab completes.
func (r *repl) learn(ctx context.Context) (err error) {
	if r.schema, err = r.cmd.schema(ctx, r.client); err != nil {
		return err
	}
	if err := r.client.get(ctx, http.MethodGet, r.cmd.orgPath("/kpis"), nil, nil, &r.kpis); err != nil {
		return err
	}
	r.words = strings.Fields(".help .schema .kpis .kpi .format .output .timer .pager .quit select from where group by order limit having join using with recursive qualify pivot union all distinct filter over partition")
	for _, t := range r.schema.Tables {
		r.words = append(r.words, t.Name)
		for _, c := range t.Columns {
			r.words = append(r.words, c.Name)
		}
	}
	r.words = append(r.words, r.schema.Functions...)
	for _, k := range r.kpis {
		r.words = append(r.words, k.Name)
	}
	slices.Sort(r.words)
	r.words = slices.Compact(r.words)
	return nil
}

// complete offers the words that begin as the one before the cursor does.
func (r *repl) complete(line string, pos int) (head string, completions []string, tail string) {
	runes := []rune(line)
	start := pos
	for start > 0 && isWord(runes[start-1]) {
		start--
	}
	begun := strings.ToLower(string(runes[start:pos]))
	if begun == "" {
		return line, nil, ""
	}
	for _, w := range r.words {
		if strings.HasPrefix(w, begun) {
			completions = append(completions, w)
		}
	}
	return string(runes[:start]), completions, string(runes[pos:])
}

func isWord(r rune) bool {
	return r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// historyFile is where the user's lines are kept, readable by the user alone.
func historyFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "mailwake", "sql_history")
}

// saveHistory keeps the lines; that it cannot is no reason to fail.
func saveHistory(line *liner.State, path string) {
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = line.WriteHistory(f)
}
