package blob

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"golang.org/x/sync/errgroup"
)

var _ Copier = (*AzureStore)(nil)

// accountClient is for what concerns the whole account.
func (o *AzureOptions) accountClient(opts policy.ClientOptions) (*service.Client, error) {
	u, sdk := strings.TrimSuffix(o.Endpoint, "/")+"/", &service.ClientOptions{ClientOptions: opts}
	switch o.Auth {
	case AuthSharedKey:
		cred, err := service.NewSharedKeyCredential(o.Account, string(o.Key))
		if err != nil {
			return nil, errors.New("azure: the account key is not base64")
		}
		return service.NewClientWithSharedKeyCredential(u, cred, sdk)
	case AuthSAS:
		return service.NewClientWithNoCredential(u+"?"+strings.TrimPrefix(string(o.SAS), "?"), sdk)
	default:
		return nil, ErrNotTold // needs a role on the account, which an identity for data has not
	}
}

// Copies implements Copier.
func (s *AzureStore) Copies(ctx context.Context, prefix string) iter.Seq2[Copy, error] {
	return func(yield func(Copy, error) bool) {
		pager := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
			Prefix:  new(s.prefix + prefix),
			Include: container.ListBlobsInclude{Deleted: true, Snapshots: true, Versions: true},
		})
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				yield(Copy{}, fmt.Errorf("list copies below %q: %w", prefix, azureError(ctx, err)))
				return
			}
			for _, b := range page.Segment.BlobItems {
				if c, is := s.copyOf(b); is && !yield(c, nil) {
					return
				}
			}
		}
	}
}

// copyOf tells copies from live blobs.
func (s *AzureStore) copyOf(b *container.BlobItem) (c Copy, is bool) {
	c.Key = strings.TrimPrefix(*b.Name, s.prefix)
	isTrue := func(v *bool) bool { return v != nil && *v }
	switch {
	case b.Snapshot != nil && *b.Snapshot != "":
		c.Kind, c.ID = CopySnapshot, *b.Snapshot
	case b.VersionID != nil && *b.VersionID != "" && !isTrue(b.IsCurrentVersion):
		c.Kind, c.ID = CopyVersion, *b.VersionID
	case isTrue(b.Deleted):
		c.Kind = CopyDeleted
	default:
		return c, false
	}
	if p := b.Properties; p != nil {
		if p.ContentLength != nil {
			c.Bytes = *p.ContentLength
		}
		if p.RemainingRetentionDays != nil {
			c.Until = time.Now().UTC().Truncate(time.Second).AddDate(0, 0, int(*p.RemainingRetentionDays))
		}
	}
	return c, true
}

// Expunge implements Copier: snapshots and versions are deleted, and deleted for
// good where the account keeps them nevertheless and allows that. A deleted blob
// itself cannot be; it goes at its time.
func (s *AzureStore) Expunge(ctx context.Context, copies ...Copy) (left []Copy, err error) {
	if len(copies) == 0 {
		return nil, nil
	}
	prefix := copies[0].Key
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(deletesAtOnce)
	type name struct {
		key, id string
		kind    CopyKind
	}
	asked := map[name]bool{}
	for _, c := range copies {
		asked[name{c.Key, c.ID, c.Kind}] = true
		for !strings.HasPrefix(c.Key, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
		g.Go(func() error { return s.expunge(gctx, c) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for c, err := range s.Copies(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if asked[name{c.Key, c.ID, c.Kind}] {
			left = append(left, c)
		}
	}
	return left, nil
}

func (s *AzureStore) expunge(ctx context.Context, c Copy) (err error) {
	client := s.client.NewBlobClient(s.prefix + c.Key)
	switch c.Kind {
	case CopySnapshot:
		client, err = client.WithSnapshot(c.ID)
	case CopyVersion:
		client, err = client.WithVersionID(c.ID)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if c.Until.IsZero() { // not deleted yet
		if _, err := client.Delete(ctx, nil); refused(err) != nil {
			return describe("delete a copy of", c.Key, azureError(ctx, err))
		}
	}
	_, err = client.Delete(ctx, &blob.DeleteOptions{BlobDeleteType: new(blob.DeleteTypePermanent)})
	return describe("delete a copy for good of", c.Key, azureError(ctx, refused(err)))
}

// refused turns the answers that mean "gone", "not allowed" and "not possible here"
// into nil: what is left is listed afterwards.
func refused(err error) error {
	switch status, _ := azureStatus(err); status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed:
		return nil
	}
	return err
}

// Keeps implements Copier.
func (s *AzureStore) Keeps(ctx context.Context) (time.Duration, error) {
	account, err := s.account()
	if err != nil {
		return 0, err
	}
	p, err := account.GetProperties(ctx, nil)
	switch status, _ := azureStatus(err); {
	case err == nil:
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return 0, ErrNotTold
	default:
		return 0, fmt.Errorf("read properties of the storage account: %w", azureError(ctx, err))
	}
	if d := p.DeleteRetentionPolicy; d != nil && d.Enabled != nil && *d.Enabled && d.Days != nil {
		return time.Duration(*d.Days) * 24 * time.Hour, nil
	}
	return 0, nil
}
