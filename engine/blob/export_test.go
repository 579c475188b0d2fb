package blob

import "context"

// Snapshot takes a snapshot of a blob, as somebody with access to the account may.
func (s *AzureStore) Snapshot(ctx context.Context, key string) error {
	_, err := s.client.NewBlobClient(s.prefix+key).CreateSnapshot(ctx, nil)
	return err
}
