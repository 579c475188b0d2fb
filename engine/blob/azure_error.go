package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// azureFailure is an answer of the service in one line. The SDK's own text runs
// over many and quotes what was signed.
type azureFailure struct {
	status int
	code   string // "" for a HEAD request that came back without one
	id     string // by which Microsoft's support finds the request
	err    error
}

func (e *azureFailure) Error() string {
	return fmt.Sprintf("azure: %d %s (request %s)", e.status, e.code, e.id)
}

func (e *azureFailure) Unwrap() error { return e.err }

// azureStatus returns the status and error code of the service's answer, or 0
// if err is not one.
func azureStatus(err error) (int, string) {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return 0, ""
	}
	return answer.StatusCode, answer.ErrorCode
}

// azureError translates an error of the SDK for users of Store. A missing
// container is not ErrNotFound: nobody should conclude that all blobs have
// been deleted.
func azureError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	status, code := azureStatus(err)
	if status == 0 {
		return azureNoAnswer(err)
	}
	if status == http.StatusNotFound && code != "ContainerNotFound" {
		return ErrNotFound
	}
	failure := &azureFailure{status: status, code: code, err: err}
	var answer *azcore.ResponseError
	if errors.As(err, &answer) && answer.RawResponse != nil {
		failure.id = answer.RawResponse.Header.Get("x-ms-request-id")
	}
	switch {
	case status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported,
		status == http.StatusTooManyRequests, status == http.StatusRequestTimeout,
		code == "ContainerBeingDeleted", code == "Md5Mismatch":
		return Transient(failure)
	default:
		return failure
	}
}

// azureNoAnswer translates an error without an answer of the service. That may
// pass, unless the other side is not who it should be or there is no way to
// log in. The URL is left out because a SAS token is part of it.
func azureNoAnswer(err error) error {
	var final interface {
		error
		NonRetriable() // the SDK's mark, on failed logins above all
	}
	var cert *tls.CertificateVerificationError
	permanent := errors.As(err, &final) || errors.As(err, &cert)
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	err = fmt.Errorf("azure: %w", err)
	if permanent {
		return err
	}
	return Transient(err)
}
