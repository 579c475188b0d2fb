package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

// newAzure returns a store whose service is handler.
func newAzure(t *testing.T, o blob.AzureOptions, handler http.HandlerFunc) *blob.AzureStore {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	o.Container, o.Account = "cont", "acct"
	if o.Endpoint == "" {
		o.Endpoint = server.URL + "/acct"
	}
	if o.HTTP == nil {
		o.HTTP = server.Client()
	}
	if o.Auth == "" {
		o.Auth, o.Key = blob.AuthSharedKey, "a2V5"
	}
	s, err := blob.Azure(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAzureAnswers(t *testing.T) {
	for _, c := range []struct {
		status    int
		code      string
		transient bool
		is        error
	}{
		{500, "InternalError", true, nil},
		{500, "OperationTimedOut", true, nil},
		{502, "", true, nil},
		{503, "ServerBusy", true, nil},
		{504, "", true, nil},
		{429, "TooManyRequests", true, nil},
		{408, "", true, nil},
		{409, "ContainerBeingDeleted", true, nil},
		{400, "Md5Mismatch", true, nil},
		{400, "InvalidHeaderValue", false, nil},
		{401, "", false, nil},
		{403, "AuthenticationFailed", false, nil},
		{409, "LeaseIdMissing", false, nil},
		{501, "", false, nil},
		{404, "BlobNotFound", false, blob.ErrNotFound},
		{404, "ContainerNotFound", false, nil},
	} {
		calls := 0
		s := newAzure(t, blob.AzureOptions{}, func(w http.ResponseWriter, _ *http.Request) {
			calls++
			w.Header().Set("x-ms-error-code", c.code)
			w.Header().Set("x-ms-request-id", "the-request")
			w.WriteHeader(c.status)
		})
		_, err := s.Get(t.Context(), "k", 0, -1)
		if err == nil || blob.IsTransient(err) != c.transient || errors.Is(err, blob.ErrNotFound) != (c.is != nil) {
			t.Errorf("%d %s: transient %v, %v", c.status, c.code, blob.IsTransient(err), err)
			continue
		}
		if calls != 1 {
			t.Errorf("%d %s: %d requests; only Retry may repeat them", c.status, c.code, calls)
		}
		if c.is == nil && (!strings.Contains(err.Error(), c.code) || !strings.Contains(err.Error(), "the-request") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%d %s: text %q", c.status, c.code, err)
		}
	}
}

func TestAzureNoAnswer(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until then a server does not notice that the client has gone
		<-r.Context().Done()
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	secure := httptest.NewUnstartedServer(http.HandlerFunc(cut))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	const sas = "sv=2025-01-05&sig=TOPSECRET"
	for _, c := range []struct {
		name      string
		o         blob.AzureOptions
		handler   http.HandlerFunc
		timeout   time.Duration // of the caller
		transient bool
	}{
		{"refused", blob.AzureOptions{Endpoint: gone.URL + "/acct", Auth: blob.AuthSAS, SAS: sas}, nil, time.Minute, true},
		{"cut off", blob.AzureOptions{Auth: blob.AuthSAS, SAS: sas}, cut, time.Minute, true},
		{"slow try", blob.AzureOptions{Auth: blob.AuthSAS, SAS: sas, TryTimeout: 20 * time.Millisecond}, hang, time.Minute, true},
		{"caller gives up", blob.AzureOptions{Auth: blob.AuthSAS, SAS: sas}, hang, 20 * time.Millisecond, false},
		{"false certificate", blob.AzureOptions{Endpoint: secure.URL, Auth: blob.AuthSAS, SAS: sas}, nil, time.Minute, false},
		{"no login", blob.AzureOptions{Endpoint: secure.URL, Auth: blob.AuthIdentity, Credential: fakeCredential{errLogin{}}, HTTP: secure.Client()}, nil, time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newAzure(t, c.o, c.handler)
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			err := s.Put(ctx, "k", strings.NewReader("body"), false)
			if err == nil || blob.IsTransient(err) != c.transient {
				t.Errorf("transient %v: %v", blob.IsTransient(err), err)
			}
			if strings.Contains(err.Error(), "TOPSECRET") || strings.Contains(err.Error(), "sig=") {
				t.Errorf("the token is in the text: %v", err)
			}
		})
	}
}

// errLogin is what azidentity's errors have in common.
type errLogin struct{}

func (errLogin) Error() string { return "no identity here" }
func (errLogin) NonRetriable() {}

// TestAzureEarlyAnswer: a service that refuses without reading leaves the
// transport in the middle of the body, which Retry is about to read again. The
// race detector watches.
func TestAzureEarlyAnswer(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 400_000)
	calls := 0
	var got []byte
	s := newAzure(t, blob.AzureOptions{}, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	retry := blob.Retry(s, blob.RetryPolicy{First: time.Millisecond})
	if err := retry.Put(t.Context(), "k", bytes.NewReader(want), false); err != nil {
		t.Fatal(err)
	}
	if calls != 4 || !bytes.Equal(got, want) {
		t.Errorf("%d calls, %d bytes of %d", calls, len(got), len(want))
	}
}

// TestAzureBodyResumes: the first answers break off in the middle.
func TestAzureBodyResumes(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 10_000)
	var ranges []string
	s := newAzure(t, blob.AzureOptions{}, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("x-ms-range")+" "+r.Header.Get("If-Match"))
		w.Header().Set("ETag", `"one"`)
		part := want[30_000*(len(ranges)-1):]
		w.Header().Set("Content-Length", fmt.Sprint(len(part)))
		w.WriteHeader(http.StatusPartialContent)
		if len(ranges) < 3 {
			_, _ = w.Write(part[:30_000])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(part)
	})
	if got := blobtest.Get(t, s, "k"); !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d", len(got), len(want))
	}
	if wantRanges := []string{" ", `bytes=30000- "one"`, `bytes=60000- "one"`}; !slices.Equal(ranges, wantRanges) {
		t.Errorf("asked for %q", ranges)
	}
}

// TestAzureDamage flips one bit on the way to a real server.
func TestAzureDamage(t *testing.T) {
	az := blobtest.Azurite(t)
	damage := false
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", az.Addr
		if damage && r.Out.Method == http.MethodPut && r.Out.ContentLength > 1000 {
			r.Out.Body = &flipped{r.Out.Body, false}
		}
	}}
	server := httptest.NewServer(proxy)
	defer server.Close()
	s := blobtest.OpenAzure(t, blob.AzureOptions{
		Container: az.Container(), Account: az.Account, Endpoint: server.URL + "/" + az.Account, Auth: blob.AuthSharedKey, Key: blob.Secret(az.Key),
	})
	for _, size := range []int{5000, 9 << 20} {
		damage = true
		if err := s.Put(t.Context(), "k", bytes.NewReader(make([]byte, size)), false); err == nil {
			t.Errorf("%d bytes were stored damaged", size)
		}
		if keys := blobtest.Keys(t, s, ""); len(keys) != 0 {
			t.Errorf("left behind: %q", keys)
		}
		damage = false
		blobtest.Put(t, s, "whole", make([]byte, size))
		if err := s.Delete(t.Context(), "whole"); err != nil {
			t.Error(err)
		}
	}
}

type flipped struct {
	io.ReadCloser
	done bool
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}

// TestAzureOutage takes a real server away and brings it back.
func TestAzureOutage(t *testing.T) {
	az := blobtest.Azurite(t)
	proxy := blobtest.Proxy(t, az.Addr)
	inner := az.At(proxy.Addr).Store(t)
	blobtest.Put(t, inner, "before", make([]byte, 1<<20))
	proxy.Down()
	if _, err := inner.Stat(t.Context(), "before"); !blob.IsTransient(err) {
		t.Errorf("stat while down: %v", err)
	}
	var heard []string
	s := blob.Retry(inner, blob.RetryPolicy{First: time.Millisecond, Notify: func(op, key string, try int, _ time.Duration, err error) {
		heard = append(heard, fmt.Sprint(op, " ", key, " ", try, " ", blob.IsTransient(err)))
		if try == 3 {
			proxy.Up()
		}
	}})
	if err := s.Put(t.Context(), "after", strings.NewReader("x"), true); err != nil {
		t.Error(err)
	}
	if want := []string{"put after 1 true", "put after 2 true", "put after 3 true"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q", heard)
	}
	if got := blobtest.Keys(t, s, ""); !slices.Equal(got, []string{"after", "before"}) {
		t.Errorf("keys %q", got)
	}
}

// TestAzureBodyFailsLate: the checksum could be taken, then the body breaks while
// it is sent. That is not the network's fault.
func TestAzureBodyFailsLate(t *testing.T) {
	s := newAzure(t, blob.AzureOptions{}, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			w.WriteHeader(http.StatusCreated)
		}
	})
	for _, size := range []int{1 << 20, 9 << 20} {
		body := &onceReadable{Reader: bytes.NewReader(make([]byte, size))}
		if err := s.Put(t.Context(), "k", body, false); !errors.Is(err, errWorn) || blob.IsTransient(err) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

var errWorn = errors.New("read once already")

// onceReadable fails when bytes that were read are read again.
type onceReadable struct {
	*bytes.Reader
	read int64
}

func (o *onceReadable) Read(p []byte) (int, error) {
	if o.Size()-int64(o.Len()) < o.read {
		return 0, errWorn
	}
	n, err := o.Reader.Read(p)
	o.read += int64(n)
	return n, err
}
