package blob_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

// keeper answers as an account with versions, snapshots and soft delete does.
type keeper struct {
	mu     sync.Mutex
	items  map[string]string // name of a copy -> its XML
	locked map[string]bool   // that may not be deleted
	calls  []string
}

func every(string) bool { return true }

func item(name, what string) string {
	return "<Blob><Name>" + name + "</Name>" + what + "<Properties><Content-Length>7</Content-Length>%s</Properties></Blob>"
}

func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	q := r.URL.Query()
	switch {
	case q.Get("comp") == "properties":
		return answer(200, "<StorageServiceProperties><DeleteRetentionPolicy><Enabled>true</Enabled><Days>9</Days></DeleteRetentionPolicy></StorageServiceProperties>")
	case q.Get("comp") == "list":
		var b strings.Builder
		for _, text := range k.items {
			if i := strings.Index(text, "</Name>"); strings.HasPrefix(text[len("<Blob><Name>"):i], q.Get("prefix")) {
				b.WriteString(text)
			}
		}
		return answer(200, "<EnumerationResults><Blobs>"+b.String()+"</Blobs></EnumerationResults>")
	case r.Method == http.MethodDelete:
		id := q.Get("versionid") + q.Get("snapshot")
		k.calls = append(k.calls, id+q.Get("deletetype"))
		if _, there := k.items[id]; !there {
			return answer(404, "")
		}
		if k.locked[id] {
			return answer(409, "")
		}
		if q.Get("deletetype") == "Permanent" {
			delete(k.items, id)
		}
		return answer(202, "")
	}
	return answer(500, "")
}

func TestCopiesOfAnAccountThatKeeps(t *testing.T) {
	k := &keeper{locked: map[string]bool{"2026-01-02": true}}
	k.items = map[string]string{
		"live":       fmt.Sprintf(item("p/a", "<VersionId>2026-01-09</VersionId><IsCurrentVersion>true</IsCurrentVersion>"), ""),
		"2026-01-01": fmt.Sprintf(item("p/a", "<VersionId>2026-01-01</VersionId>"), ""),
		"2026-01-02": fmt.Sprintf(item("p/b", "<VersionId>2026-01-02</VersionId>"), ""),
		"2026-01-03": fmt.Sprintf(item("p/b", "<Snapshot>2026-01-03</Snapshot><Deleted>true</Deleted>"), "<RemainingRetentionDays>3</RemainingRetentionDays>"),
		"soft":       fmt.Sprintf(item("p/c", "<Deleted>true</Deleted>"), "<RemainingRetentionDays>5</RemainingRetentionDays>"),
		"elsewhere":  fmt.Sprintf(item("q/c", "<Deleted>true</Deleted>"), ""),
	}
	s, err := blob.Azure(blob.AzureOptions{Account: "acme", Container: "mail", Auth: blob.AuthSharedKey, Key: "a2V5", HTTP: &http.Client{Transport: k}})
	if err != nil {
		t.Fatal(err)
	}
	wrapped := blob.Meter(blob.Retry(blob.Limit(s, 4), blob.RetryPolicy{}))
	c, ok := blob.CopiesOf(wrapped)
	if !ok {
		t.Fatal("wrappers hide it")
	}
	kinds := map[blob.CopyKind]int{}
	for one, err := range c.Copies(t.Context(), "p/") {
		if err != nil {
			t.Fatal(err)
		}
		kinds[one.Kind]++
		if one.Bytes != 7 || (one.Kind == blob.CopyDeleted) != (one.ID == "") || one.Kind == blob.CopyDeleted && time.Until(one.Until) < 4*24*time.Hour {
			t.Errorf("%+v", one)
		}
	}
	if kinds[blob.CopyVersion] != 2 || kinds[blob.CopySnapshot] != 1 || kinds[blob.CopyDeleted] != 1 {
		t.Fatal(kinds)
	}
	done, left, err := blob.ExpungeAll(t.Context(), wrapped, "p/", every)
	if err != nil || done != 2 || len(left) != 2 {
		t.Fatal(done, left, err)
	}
	slices.SortFunc(left, func(a, b blob.Copy) int { return strings.Compare(a.Key, b.Key) })
	if left[0].ID != "2026-01-02" || left[1].Kind != blob.CopyDeleted || k.items["live"] == "" || k.items["elsewhere"] == "" {
		t.Error(left, k.calls)
	}
	if d, err := c.Keeps(t.Context()); err != nil || d != 9*24*time.Hour {
		t.Error(d, err)
	}
	if done, left, err := blob.ExpungeAll(context.Background(), blob.Mem("x"), "p/", every); done != 0 || left != nil || err != nil {
		t.Error("memory keeps nothing")
	}
}

// TestSnapshotsOfAzurite is as far as the emulator goes: it has no versions and no
// soft delete.
func TestSnapshotsOfAzurite(t *testing.T) {
	s := blobtest.Azurite(t).Store(t)
	blobtest.Put(t, s, "p/a", []byte("1"))
	blobtest.Put(t, s, "p/b", []byte("2"))
	if err := s.Snapshot(t.Context(), "p/a"); err != nil {
		t.Fatal(err)
	}
	done, left, err := blob.ExpungeAll(t.Context(), s, "p/", every)
	if err != nil || done != 1 || left != nil {
		t.Fatal(done, left, err)
	}
	if got := blobtest.Keys(t, s, "p/"); !slices.Equal(got, []string{"p/a", "p/b"}) {
		t.Error(got)
	}
	if d, err := s.Keeps(t.Context()); err != nil || d != 0 {
		t.Error(d, err)
	}
}
