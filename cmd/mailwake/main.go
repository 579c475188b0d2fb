// Command mailwake collects what recipients do with followed emails and answers
// KPIs about it. It is one binary: the server, its clients and its tools.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"mailwake/engine/problem"
)

// version is set by the linker for releases.
var version = ""

// cli is the command line; kong reads it.
type cli struct {
	Config  kong.ConfigFlag `help:"TOML file with flag names as keys." placeholder:"FILE" type:"existingfile"`
	Serve   serveCmd        `cmd:"" help:"Run the server: the public plane for mail clients and the private plane for you."`
	Demo    demoCmd         `cmd:"" help:"Run a server with followed mails and mail clients, and watch the KPIs move."`
	Follow  followCmd       `cmd:"" help:"Make a mail followed, HTML or whole (MIME): one instrumented copy per recipient."`
	KPI     kpiCmd          `cmd:"" help:"List the KPIs, or compute one."`
	SQL     sqlCmd          `cmd:"" help:"Run SELECTs over the published tables, one or at a prompt."`
	Export  exportCmd       `cmd:"" help:"Export all interactions of an organisation as NDJSON or Parquet."`
	Org     orgCmd          `cmd:"" help:"Create and list organisations."`
	Consent consentCmd      `cmd:"" help:"Preferences with proof: show, set, import, export, verify."`
	Key     keyCmd          `cmd:"" help:"Create, list and revoke API keys."`
	Inspect inspectCmd      `cmd:"" help:"Show what is in a data folder that no server holds: log, lake or registry."`
	Verify  verifyCmd       `cmd:"" help:"Check blobs, manifests, row counts, registry and log of a data folder against each other."`
	Bench   benchCmd        `cmd:"" help:"Measure a server on this machine."`
	Version versionCmd      `cmd:"" help:"Print the version."`

	Erase     eraseCmd     `cmd:"" help:"Erase a person for good, show receipts, and verify that nothing is left."`
	Retention retentionCmd `cmd:"" help:"Maintenance of stored data: compaction, consent and age at rewrite, deletion."`
}

// Exit statuses: 0 done, 1 failed, 2 wrong usage.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if work := workerOf(os.Args); work != nil {
		os.Exit(work())
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// env is what commands get from the process.
type env struct {
	out, err io.Writer
}

func run(args []string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("mailwake"),
		kong.Description("Email engagement: opens, clicks, KPIs and SQL, on your own storage."),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.DefaultEnvars("MAILWAKE"),
		kong.Configuration(loadTOML),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&env{out: out, err: errOut}),
	)
	if err != nil {
		fmt.Fprintln(errOut, "mailwake:", err)
		return exitUsage
	}
	k, err := parser.Parse(args)
	if exit >= 0 { // help was asked for and printed
		return exit
	}
	if err != nil {
		fmt.Fprintf(errOut, "mailwake: %v\nTry: mailwake --help\n", err)
		return exitUsage
	}
	if err := k.Run(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(errOut, "mailwake:", sentence(err))
		return exitFailed
	}
	return 0
}

// sentence is an error as a person reads it.
func sentence(err error) string {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return fmt.Sprintf("%s (%s)", p.Detail, p.Code)
	}
	return err.Error()
}

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	fmt.Fprintln(e.out, "mailwake", buildVersion())
	return nil
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
