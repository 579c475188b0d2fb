package blobtest

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine/blob"
)

// azuriteStart is how long Azurite may take to answer. It takes one or two
// seconds; the rest is for machines that are busy.
const azuriteStart = time.Minute

// AzuriteServer is a running Azure Blob server without any container. Account
// and key are the public ones of every Azurite.
type AzuriteServer struct {
	Account, Key     string
	Addr             string // host:port
	Endpoint         string // http://host:port/account
	ConnectionString string

	// life is held open: the server ends when it closes, at the latest with
	// this process. Its output goes to log, which must stay open as well.
	life, log *os.File
}

// theAzurite is shared by all tests of a process, as starting one for each
// would take longer than the tests.
var theAzurite = sync.OnceValues(startAzurite)

// Azurite returns the one Azurite of this test process and starts it at the
// first call. It fails the test when Azurite is not installed.
func Azurite(t testing.TB) *AzuriteServer {
	t.Helper()
	s, err := theAzurite()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// At returns the same server behind another address, such as a Proxy's.
func (s *AzuriteServer) At(addr string) *AzuriteServer {
	at := &AzuriteServer{Account: s.Account, Key: s.Key, Addr: addr, life: s.life, log: s.log}
	at.Endpoint = "http://" + addr + "/" + s.Account
	at.ConnectionString = fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=%s;", s.Account, s.Key, at.Endpoint)
	return at
}

// Container returns a name that no other test has.
func (s *AzuriteServer) Container() string { return "t-" + strings.ToLower(rand.Text()) }

// URL is what blob.Open and `serve --storage` take for container, together
// with Env.
func (s *AzuriteServer) URL(container string) string {
	return "azblob://" + container + "?account=" + s.Account + "&auth=shared-key&endpoint=" + s.Endpoint
}

// Env is an environment that holds the secret for URL.
func (s *AzuriteServer) Env(name string) string {
	if name == "AZURE_STORAGE_KEY" {
		return s.Key
	}
	return ""
}

// Store returns a store in a container of its own.
func (s *AzuriteServer) Store(t testing.TB) *blob.AzureStore {
	t.Helper()
	return OpenAzure(t, blob.AzureOptions{
		Container: s.Container(), Auth: blob.AuthConnectionString, ConnectionString: blob.Secret(s.ConnectionString),
	})
}

// OpenAzure returns the store for o with its container there. Connections last
// as long as the test.
func OpenAzure(t testing.TB, o blob.AzureOptions) *blob.AzureStore {
	t.Helper()
	if o.HTTP == nil {
		transport := &http.Transport{MaxIdleConnsPerHost: 16}
		t.Cleanup(transport.CloseIdleConnections)
		o.HTTP = &http.Client{Transport: transport}
	}
	store, err := blob.Azure(o)
	if err == nil {
		err = store.Ensure(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// startAzurite starts no goroutine, so that leak checks of other tests stay
// quiet.
func startAzurite() (*AzuriteServer, error) {
	folder, err := azuriteFolder()
	if err != nil {
		return nil, err
	}
	command := filepath.Join(folder, "node_modules", ".bin", "azurite-blob")
	if _, err := os.Stat(command); err != nil {
		return nil, errors.New("Azurite, the blob server for tests, is not installed: run `make setup`")
	}
	stdin, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	log, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// Port 0 lets Azurite choose, which no other process can get in between.
	cmd := exec.Command("node", "--require", filepath.Join(folder, "parent.cjs"), command, //nolint:gosec // our own folder
		"--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence", "--silent", "--blobHost", "127.0.0.1", "--blobPort", "0")
	cmd.Dir = os.TempDir()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stdout
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Azurite: %w", err)
	}
	if err := errors.Join(stdin.Close(), stdout.Close()); err != nil {
		return nil, err
	}
	addr, err := azuriteAddr(log)
	if err == nil {
		err = awaitHTTP("http://" + addr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Azurite: %w", err), cmd.Process.Kill())
	}
	s := &AzuriteServer{
		Account: "devstoreaccount1",
		Key:     "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
		life:    life, log: log,
	}
	return s.At(addr), nil
}

// azuriteFolder finds this package's folder azurite from the folder a test
// runs in.
func azuriteFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "engine", "blob", "blobtest", "azurite"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find go.mod: the test does not run inside the project")
		}
		dir = parent
	}
}

// azuriteAddr reads the output up to the line that tells the address.
func azuriteAddr(log *os.File) (string, error) {
	if err := log.SetReadDeadline(time.Now().Add(azuriteStart)); err != nil {
		return "", err
	}
	var said []string
	for in := bufio.NewScanner(log); in.Scan(); {
		if _, addr, ok := strings.Cut(in.Text(), "listens on http://"); ok {
			return strings.TrimSpace(addr), nil
		}
		said = append(said, in.Text())
	}
	return "", fmt.Errorf("no address in its output: %q", said)
}

// awaitHTTP returns when url answers anything.
func awaitHTTP(url string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: azuriteStart}
	for deadline := time.Now().Add(azuriteStart); ; {
		resp, err := client.Get(url) //nolint:noctx // bounded by Timeout
		if err == nil {
			return resp.Body.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		<-time.After(20 * time.Millisecond)
	}
}
