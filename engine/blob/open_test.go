package blob_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

const topSecret = "VE9QU0VDUkVU" // base64, as keys are

func envOf(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestOpenFile(t *testing.T) {
	root := filepath.Join(t.TempDir(), "with space", "blobs")
	s, err := blob.Open(t.Context(), "file://"+strings.ReplaceAll(root, " ", "%20"), envOf(nil))
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, s, "k", []byte("v"))
	if got, err := os.ReadFile(filepath.Join(root, "k")); err != nil || string(got) != "v" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOpenAzure(t *testing.T) {
	az := blobtest.Azurite(t)
	secretFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secretFile, []byte(az.Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := "?account=" + az.Account + "&endpoint=" + az.Endpoint
	for _, c := range []struct {
		params string
		env    map[string]string
	}{
		{"", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": az.ConnectionString}},
		{"?auth=connection-string", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": az.ConnectionString, "AZURE_STORAGE_KEY": "ignored"}},
		{at, map[string]string{"AZURE_STORAGE_KEY": az.Key}},
		{at + "&auth=shared-key", map[string]string{"AZURE_STORAGE_KEY_FILE": secretFile}},
		{at + "&auth=sas", map[string]string{"AZURE_STORAGE_SAS_TOKEN": "?" + accountSAS(t, az)}},
	} {
		container := az.Container()
		for range 2 { // creates the container, then finds it
			s, err := blob.Open(t.Context(), "azblob://"+container+"/pre/fix"+c.params, envOf(c.env))
			if err != nil {
				t.Fatalf("%s: %v", c.params, err)
			}
			blobtest.Put(t, s, "k", []byte("v"))
			if want := "abfs://" + container + "@devstoreaccount1.dfs.core.windows.net/pre/fix/k"; s.URL("k") != want {
				t.Errorf("URL %s, want %s", s.URL("k"), want)
			}
		}
	}
	if s, err := blob.Open(t.Context(), az.URL(az.Container()), az.Env); err != nil {
		t.Error(err)
	} else {
		blobtest.Put(t, s, "k", []byte("v"))
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		url  string
		env  map[string]string
		want string // part of the error
	}{
		{"s3://bucket", nil, `unknown scheme "s3"`},
		{"/just/a/path", nil, "file:///absolute/path"},
		{"::", nil, "not a URL"},
		{"file://relative/path", nil, "three slashes"},
		{"file:relative", nil, "three slashes"},
		{"file:///x?sync=no", nil, "nothing after the path"},
		{"azblob://cont?account=acct&auth=shared-key", nil, "AZURE_STORAGE_KEY"},
		{"azblob://cont?account=acct&auth=sas", nil, "AZURE_STORAGE_SAS_TOKEN_FILE"},
		{"azblob://cont?auth=connection-string", nil, "AZURE_STORAGE_CONNECTION_STRING"},
		{"azblob://cont?account=acct&auth=magic", nil, "connection-string, shared-key, sas or identity"},
		{"azblob://cont?account=acct&key=" + topSecret, nil, `unknown parameter "key"`},
		{"azblob://cont?account=acct&account=other", nil, "more than once"},
		{"azblob://user:" + topSecret + "@cont?account=acct", nil, "without user"},
		{"azblob://cont?auth=identity", nil, "account name"},
		{"azblob://cont?account=evil.example/&auth=identity", nil, "account name"},
		{"azblob://UPPER?account=acct&auth=identity", nil, "container name"},
		{"azblob://a--b?account=acct&auth=identity", nil, "container name"},
		{"azblob://cont/a/../b?account=acct&auth=identity", nil, "prefix"},
		{"azblob://cont/" + strings.Repeat("p", 101) + "?account=acct&auth=identity", nil, "prefix"},
		{"azblob://cont?account=acct&auth=identity&endpoint=ftp://x", nil, "endpoint"},
		{"azblob://cont?account=acct&auth=identity&endpoint=https://u:" + topSecret + "@x", nil, "endpoint"},
		{"azblob://cont?account=acct&endpoint=http://far.example", map[string]string{"AZURE_STORAGE_SAS_TOKEN": topSecret}, "https only"},
		{"azblob://cont?account=acct", map[string]string{"AZURE_STORAGE_KEY": topSecret, "AZURE_STORAGE_SAS_TOKEN": topSecret}, "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN are all set"},
		{"azblob://cont?account=acct", map[string]string{"AZURE_STORAGE_KEY": topSecret, "AZURE_STORAGE_KEY_FILE": "x"}, "keep one"},
		{"azblob://cont?account=acct", map[string]string{"AZURE_STORAGE_KEY_FILE": "no/such/file"}, "read AZURE_STORAGE_KEY_FILE"},
		{"azblob://cont?account=acct", map[string]string{"AZURE_STORAGE_KEY_FILE": os.DevNull}, "empty file"},
		{"azblob://cont?account=acct", map[string]string{"AZURE_STORAGE_KEY": topSecret + "!"}, "not base64"},
		{"azblob://cont?account=acct", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=" + topSecret}, `for "other"`},
		{"azblob://cont", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;" + topSecret}, "neither AccountKey nor"},
		{"azblob://cont?endpoint=https://x", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;AccountKey=" + topSecret}, "not both"},
	} {
		_, err := blob.Open(t.Context(), c.url, envOf(c.env))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.url, err, c.want)
		} else if strings.Contains(err.Error(), topSecret) {
			t.Errorf("%s: the secret is in %v", c.url, err)
		}
	}
}

// TestOpenAzureRejected: the service says no, and then that it is busy.
func TestOpenAzureRejected(t *testing.T) {
	status, code := http.StatusForbidden, "AuthenticationFailed"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(status)
	}))
	defer server.Close()
	open := func() error {
		_, err := blob.Open(t.Context(), "azblob://cont?account=acct&endpoint="+server.URL, envOf(map[string]string{"AZURE_STORAGE_SAS_TOKEN": "sig=" + topSecret}))
		return err
	}
	if err := open(); err == nil || blob.IsTransient(err) || !strings.Contains(err.Error(), "AuthenticationFailed") || strings.Contains(err.Error(), topSecret) {
		t.Errorf("forbidden: %v", err)
	}
	status, code = http.StatusServiceUnavailable, "ServerBusy"
	if err := open(); !blob.IsTransient(err) {
		t.Errorf("busy: %v", err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	o := blob.AzureOptions{ConnectionString: topSecret, Key: topSecret, SAS: topSecret}
	if text := fmt.Sprintf("%v %+v %#v %s %q", o, o, o, o.Key, o.Key); strings.Contains(text, topSecret) {
		t.Error(text)
	}
	if text, err := o.Key.MarshalText(); err != nil || strings.Contains(string(text), topSecret) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestTransient(t *testing.T) {
	cause := errors.New("cause")
	if err := fmt.Errorf("outer: %w", blob.Transient(cause)); !blob.IsTransient(err) || !errors.Is(err, cause) || err.Error() != "outer: cause" {
		t.Errorf("%v", err)
	}
	if blob.IsTransient(cause) || blob.IsTransient(nil) || blob.Transient(nil) != nil {
		t.Error("transient without a reason")
	}
}
