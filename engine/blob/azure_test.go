package blob_test

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum Azure keeps
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

func TestAzureConnectionString(t *testing.T) {
	t.Parallel()
	blobtest.AcceptanceTest(t, func(t *testing.T) blob.Store { return blobtest.Azurite(t).Store(t) })
}

func TestAzureSharedKey(t *testing.T) {
	t.Parallel()
	az := blobtest.Azurite(t)
	blobtest.AcceptanceTest(t, func(t *testing.T) blob.Store {
		return blobtest.OpenAzure(t, blob.AzureOptions{
			Container: az.Container(), Prefix: "org one/50%", Account: az.Account, Endpoint: az.Endpoint,
			Auth: blob.AuthSharedKey, Key: blob.Secret(az.Key),
		})
	})
}

func TestAzureSAS(t *testing.T) {
	t.Parallel()
	az := blobtest.Azurite(t)
	token := accountSAS(t, az)
	blobtest.AcceptanceTest(t, func(t *testing.T) blob.Store {
		return blobtest.OpenAzure(t, blob.AzureOptions{
			Container: az.Container(), Account: az.Account, Endpoint: az.Endpoint, Auth: blob.AuthSAS, SAS: blob.Secret(token),
		})
	})
}

// TestAzureIdentity runs the suite with a bearer token. Azurite knows none over
// plain HTTP, so a TLS server checks it and passes the request on with a SAS.
func TestAzureIdentity(t *testing.T) {
	t.Parallel()
	az := blobtest.Azurite(t)
	query, err := url.ParseQuery(accountSAS(t, az))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", az.Addr
		r.Out.Header.Del("Authorization")
		q := r.Out.URL.Query()
		for name := range query {
			q.Set(name, query.Get(name))
		}
		r.Out.URL.RawQuery = q.Encode()
	}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+fakeToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	blobtest.AcceptanceTest(t, func(t *testing.T) blob.Store {
		return blobtest.OpenAzure(t, blob.AzureOptions{
			Container: az.Container(), Account: az.Account, Endpoint: server.URL + "/" + az.Account,
			Auth: blob.AuthIdentity, Credential: fakeCredential{}, HTTP: server.Client(),
		})
	})
}

const fakeToken = "fake-token"

type fakeCredential struct{ err error }

func (c fakeCredential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c.err == nil && (len(o.Scopes) != 1 || o.Scopes[0] != "https://storage.azure.com/.default") {
		return azcore.AccessToken{}, fmt.Errorf("scopes %q", o.Scopes)
	}
	return azcore.AccessToken{Token: fakeToken, ExpiresOn: time.Now().Add(time.Hour)}, c.err
}

// TestAzureIdentityOverHTTP: a bearer token must not travel unprotected.
func TestAzureIdentityOverHTTP(t *testing.T) {
	s := newAzure(t, blob.AzureOptions{Auth: blob.AuthIdentity, Credential: fakeCredential{}}, func(http.ResponseWriter, *http.Request) {
		t.Error("a request was sent")
	})
	if _, err := s.Stat(t.Context(), "k"); err == nil || blob.IsTransient(err) {
		t.Errorf("stat: %v", err)
	}
}

// TestAzureContainer covers credentials that may use a container but not make
// one.
func TestAzureContainer(t *testing.T) {
	az := blobtest.Azurite(t)
	existing := az.Container()
	blobtest.OpenAzure(t, blob.AzureOptions{Container: existing, Auth: blob.AuthConnectionString, ConnectionString: blob.Secret(az.ConnectionString)})
	for name, wantErr := range map[string]string{existing: "", az.Container(): "does not exist and may not be created"} {
		s, err := blob.Azure(blob.AzureOptions{
			Container: name, Account: az.Account, Endpoint: az.Endpoint, Auth: blob.AuthSAS, SAS: blob.Secret(containerSAS(t, az, name)),
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Ensure(t.Context())
		if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("ensure: %v, want %q", err, wantErr)
		}
		if wantErr == "" {
			blobtest.Put(t, s, "k", []byte("v"))
			continue
		}
		if _, err := s.Stat(t.Context(), "k"); err == nil || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("a missing container looks like a missing blob: %v", err)
		}
	}
}

func TestAzureURL(t *testing.T) {
	for _, c := range []struct {
		o    blob.AzureOptions
		want string
	}{
		{blob.AzureOptions{Account: "acct"}, "abfs://cont@acct.dfs.core.windows.net/k"},
		{blob.AzureOptions{Account: "acct", Prefix: "a/b"}, "abfs://cont@acct.dfs.core.windows.net/a/b/k"},
		{blob.AzureOptions{Account: "acct", Endpoint: "https://acct.blob.core.chinacloudapi.cn"}, "abfs://cont@acct.dfs.core.chinacloudapi.cn/k"},
		{blob.AzureOptions{Account: "acct", Endpoint: "http://127.0.0.1:10000/acct"}, "abfs://cont@acct.dfs.core.windows.net/k"},
		{blob.AzureOptions{Auth: blob.AuthConnectionString, ConnectionString: "AccountName=acct;AccountKey=a2V5;EndpointSuffix=core.usgovcloudapi.net"}, "abfs://cont@acct.dfs.core.usgovcloudapi.net/k"},
		{blob.AzureOptions{Auth: blob.AuthConnectionString, ConnectionString: "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=s"}, "abfs://cont@acct.dfs.core.windows.net/k"},
	} {
		c.o.Container = "cont"
		if c.o.Auth == "" {
			c.o.Auth, c.o.Key = blob.AuthSharedKey, "a2V5"
		}
		s, err := blob.Azure(c.o)
		if err != nil {
			t.Errorf("%+v: %v", c.o, err)
			continue
		}
		if got := s.URL("k"); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestAzureObjects looks at the blobs through the SDK: the service keeps the MD5
// of small and large ones, and a blob goes together with its snapshots, which
// others may have made.
func TestAzureObjects(t *testing.T) {
	az := blobtest.Azurite(t)
	o := blob.AzureOptions{Container: az.Container(), Auth: blob.AuthConnectionString, ConnectionString: blob.Secret(az.ConnectionString)}
	s := blobtest.OpenAzure(t, o)
	c, err := container.NewClientFromConnectionString(az.ConnectionString, o.Container, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{nil, []byte("small"), make([]byte, 9<<20)} {
		blobtest.Put(t, s, "k", data)
		b := c.NewBlobClient("k")
		p, err := b.GetProperties(t.Context(), nil)
		if want := md5.Sum(data); err != nil || !bytes.Equal(p.ContentMD5, want[:]) {
			t.Errorf("%d bytes: MD5 %x, %v", len(data), p.ContentMD5, err)
		}
		if _, err := b.CreateSnapshot(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
		if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("stat: %v", err)
		}
	}
}

// accountSAS is a token for everything in the account, one hour long.
func accountSAS(t *testing.T, az *blobtest.AzuriteServer) string {
	t.Helper()
	cred, err := service.NewSharedKeyCredential(az.Account, az.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := service.NewClientWithSharedKeyCredential(az.Endpoint, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := c.GetSASURL(
		sas.AccountResourceTypes{Service: true, Container: true, Object: true},
		sas.AccountPermissions{Read: true, Write: true, Delete: true, List: true, Create: true, Add: true},
		time.Now().Add(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	return queryOf(u)
}

// containerSAS is a token for the blobs of one container, one hour long.
func containerSAS(t *testing.T, az *blobtest.AzuriteServer, name string) string {
	t.Helper()
	cred, err := container.NewSharedKeyCredential(az.Account, az.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential(az.Endpoint+"/"+name, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := c.GetSASURL(sas.ContainerPermissions{Read: true, Write: true, Delete: true, List: true, Create: true}, time.Now().Add(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	return queryOf(u)
}

func queryOf(u string) string {
	_, query, _ := strings.Cut(u, "?")
	return query
}
