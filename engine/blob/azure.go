package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"golang.org/x/sync/errgroup"
)

const (
	// blockBytes is the most that one request uploads: at 140 KB/s it still
	// fits into the default TryTimeout, and 50,000 blocks make 390 GiB.
	blockBytes = 8 << 20
	// deletesAtOnce hides the latency of single deletes. Batch requests would
	// need more rights than a SAS may carry.
	deletesAtOnce = 8
	// bodyTries is how often the reading of a body is resumed in a row without
	// a byte in between, from where it broke off and only if the blob is still
	// the same one.
	bodyTries = 3
)

// AzureStore keeps objects as block blobs of one container. Every upload
// carries an MD5 that the service checks and keeps.
//
// The SDK's own retries are off, so that Retry is the only layer that repeats
// a request; each request has TryTimeout. Only a body that breaks off while it
// is read is resumed here, because nothing above could do it.
type AzureStore struct {
	client *container.Client
	prefix string // "" or "folder/"
	url    string // of the container, as abfs://…/
	// account makes the client for what concerns the whole account.
	account func() (*service.Client, error)
}

// Azure returns the store of a container without talking to it; see Ensure.
func Azure(o AzureOptions) (*AzureStore, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	opts := &container.ClientOptions{}
	opts.Retry = policy.RetryOptions{MaxRetries: -1, TryTimeout: cmp.Or(o.TryTimeout, time.Minute)}
	if o.HTTP != nil {
		opts.Transport = o.HTTP
	}
	client, err := o.client(opts)
	if err != nil {
		return nil, err
	}
	s := &AzureStore{client: client, url: "abfs://" + o.Container + "@" + o.dfsHost() + "/"}
	s.account = func() (*service.Client, error) { return o.accountClient(opts.ClientOptions) }
	if o.Prefix != "" {
		s.prefix = o.Prefix + "/"
	}
	return s, nil
}

// client returns the client for the way of authentication chosen. The SDK's
// errors are not passed on where they could quote what they could not parse.
func (o *AzureOptions) client(opts *container.ClientOptions) (*container.Client, error) {
	u := strings.TrimSuffix(o.Endpoint, "/") + "/" + o.Container
	switch o.Auth {
	case AuthSharedKey:
		cred, err := container.NewSharedKeyCredential(o.Account, string(o.Key))
		if err != nil {
			return nil, errors.New("azure: the account key is not base64")
		}
		return container.NewClientWithSharedKeyCredential(u, cred, opts)
	case AuthSAS:
		return container.NewClientWithNoCredential(u+"?"+strings.TrimPrefix(string(o.SAS), "?"), opts)
	default:
		cred := o.Credential
		if cred == nil {
			var err error
			if cred, err = azidentity.NewDefaultAzureCredential(nil); err != nil {
				return nil, fmt.Errorf("azure: identity: %w", err)
			}
		}
		return container.NewClient(u, cred, opts)
	}
}

// Ensure creates the container when it is missing. Without the right to create
// it Ensure is content with being allowed to list it.
func (s *AzureStore) Ensure(ctx context.Context) error {
	_, err := s.client.Create(ctx, nil)
	if err == nil || bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return nil
	}
	if status, _ := azureStatus(err); status != http.StatusForbidden {
		return describe("create container in", s.url, azureError(ctx, err))
	}
	_, errList := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{MaxResults: new(int32(1))}).NextPage(ctx)
	if bloberror.HasCode(errList, bloberror.ContainerNotFound) {
		return fmt.Errorf("container %s does not exist and may not be created with these credentials: create it or give them the right to", s.url)
	}
	return describe("open container", s.url, azureError(ctx, errList))
}

// Put implements Store. Up to 8 MiB travel in one request, more in blocks that
// become the blob when the last one has arrived.
func (s *AzureStore) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) (err error) {
	defer func() { err = describe("put", key, err) }()
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return err
	}
	size, err := rewind(r)
	if err != nil {
		return err
	}
	b := s.client.NewBlockBlobClient(s.prefix + key)
	cond := &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{}}
	if ifAbsent {
		cond.ModifiedAccessConditions.IfNoneMatch = new(azcore.ETagAny)
	}
	if size <= blockBytes {
		err = putWhole(ctx, b, r, size, cond)
	} else {
		err = putBlocks(ctx, b, r, size, cond)
	}
	var body *bodyError
	if errors.As(err, &body) {
		return body.err
	}
	if ifAbsent && bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet) {
		return ErrExists
	}
	if bloberror.HasCode(err, bloberror.InvalidBlockList) {
		// Another Put of this key has committed and so dropped our blocks.
		if _, errStat := s.Stat(ctx, key); ifAbsent && errStat == nil {
			return ErrExists
		}
		return Transient(azureError(ctx, err))
	}
	return azureError(ctx, err)
}

func putWhole(ctx context.Context, b *blockblob.Client, r io.ReadSeeker, size int64, cond *blob.AccessConditions) error {
	sec := newSection(r, 0, size)
	defer sec.detach()
	sum, err := sec.md5(ctx)
	if err != nil {
		return err
	}
	_, err = b.Upload(ctx, sec, &blockblob.UploadOptions{
		TransactionalValidation: blob.TransferValidationTypeMD5(sum),
		AccessConditions:        cond,
	})
	return sec.blame(err)
}

func putBlocks(ctx context.Context, b *blockblob.Client, r io.ReadSeeker, size int64, cond *blob.AccessConditions) error {
	whole := newSection(r, 0, size)
	sum, err := whole.md5(ctx)
	if err != nil {
		return err
	}
	var ids []string
	upload := newUploadID()
	for off := int64(0); off < size; off += blockBytes {
		id := upload.block(len(ids))
		if err := putBlock(ctx, b, id, newSection(r, off, min(blockBytes, size-off))); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	_, err = b.CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{
		HTTPHeaders:      &blob.HTTPHeaders{BlobContentMD5: sum},
		AccessConditions: cond,
	})
	return err
}

func putBlock(ctx context.Context, b *blockblob.Client, id string, sec *section) error {
	defer sec.detach()
	sum, err := sec.md5(ctx)
	if err != nil {
		return err
	}
	_, err = b.StageBlock(ctx, id, sec, &blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeMD5(sum)})
	return sec.blame(err)
}

// Get implements Store.
func (s *AzureStore) Get(ctx context.Context, key string, off, n int64) (_ io.ReadCloser, err error) {
	defer func() { err = describe("get", key, err) }()
	if err := errors.Join(CheckKey(key), checkRange(off), ctx.Err()); err != nil {
		return nil, err
	}
	if n == 0 { // a count of zero means "to the end" to the SDK
		_, err := s.Stat(ctx, key)
		return http.NoBody, err
	}
	resp, err := s.client.NewBlobClient(s.prefix+key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range: blob.HTTPRange{Offset: off, Count: max(n, blob.CountToEnd)},
	})
	if bloberror.HasCode(err, bloberror.InvalidRange) {
		return http.NoBody, nil // begins at the end or beyond it
	}
	if err != nil {
		return nil, azureError(ctx, err)
	}
	return &azureBody{ctx, resp.NewRetryReader(ctx, &blob.RetryReaderOptions{MaxRetries: bodyTries})}, nil
}

// Stat implements Store.
func (s *AzureStore) Stat(ctx context.Context, key string) (_ Info, err error) {
	defer func() { err = describe("stat", key, err) }()
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return Info{}, err
	}
	p, err := s.client.NewBlobClient(s.prefix+key).GetProperties(ctx, nil)
	if err != nil {
		return Info{}, azureError(ctx, err)
	}
	return azureInfo(key, p.ContentLength, p.LastModified), nil
}

// List implements Store. It gathers all pages before it yields, because an
// account with hierarchical namespace lists folder by folder, which is not the
// order of keys.
func (s *AzureStore) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		infos, err := s.list(ctx, prefix)
		if err != nil {
			yield(Info{}, fmt.Errorf("list %q: %w", prefix, azureError(ctx, err)))
			return
		}
		for _, i := range infos {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (s *AzureStore) list(ctx context.Context, prefix string) ([]Info, error) {
	var infos []Info
	pager := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
		Prefix:  new(s.prefix + prefix),
		Include: container.ListBlobsInclude{Metadata: true},
	})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, b := range page.Segment.BlobItems {
			if f := b.Metadata["hdi_isfolder"]; f != nil && *f == "true" {
				continue // how a hierarchical namespace shows a folder
			}
			infos = append(infos, azureInfo(strings.TrimPrefix(*b.Name, s.prefix), b.Properties.ContentLength, b.Properties.LastModified))
		}
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Key, b.Key) })
	return infos, nil
}

// Delete implements Store, snapshots of the blobs included.
func (s *AzureStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := CheckKey(key); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(deletesAtOnce)
	for _, key := range keys {
		g.Go(func() error {
			_, err := s.client.NewBlobClient(s.prefix+key).Delete(gctx, &blob.DeleteOptions{
				DeleteSnapshots: new(blob.DeleteSnapshotsOptionTypeInclude),
			})
			if err = azureError(gctx, err); errors.Is(err, ErrNotFound) {
				return nil
			}
			return describe("delete", key, err)
		})
	}
	return g.Wait()
}

// URL implements Store.
func (s *AzureStore) URL(key string) string { return s.url + s.prefix + key }
