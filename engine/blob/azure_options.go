package blob

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// Auth is how a store proves to Azure who asks.
type Auth string

// The ways of authentication, as written in a storage URL.
const (
	AuthConnectionString Auth = "connection-string"
	AuthSharedKey        Auth = "shared-key"
	AuthSAS              Auth = "sas"
	AuthIdentity         Auth = "identity"
)

// Secret is text that prints as "[secret]".
type Secret string

// String implements fmt.Stringer without telling.
func (Secret) String() string { return "[secret]" }

// GoString implements fmt.GoStringer without telling.
func (Secret) GoString() string { return "[secret]" }

// MarshalText implements encoding.TextMarshaler without telling.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// AzureOptions says where a container is and how to prove who asks. Secrets
// appear neither in errors nor when the options are printed.
type AzureOptions struct {
	Container string // required
	Prefix    string // folder inside the container; "" is the whole of it
	Account   string // required, except with a connection string that names it
	Endpoint  string // of the blob service; "" is https://ACCOUNT.blob.core.windows.net
	Auth      Auth   // required, with the secret of the same name

	ConnectionString Secret
	Key              Secret // account key in base64
	SAS              Secret // token, with or without "?"
	// Credential is for AuthIdentity; nil is azidentity's default chain:
	// environment, workload identity, managed identity, developer tools.
	Credential azcore.TokenCredential

	TryTimeout time.Duration // of one request with its body; 0 is one minute
	HTTP       *http.Client  // nil is the SDK's
}

// maxPrefixBytes and maxKeyBytes together stay within Azure's 1,024.
const maxPrefixBytes = 100

// complete fills in what follows from the rest and refuses what cannot work.
// Afterwards a connection string has become a shared key or a SAS.
func (o *AzureOptions) complete() error {
	if o.Auth == AuthConnectionString {
		if err := o.readConnectionString(); err != nil {
			return err
		}
	}
	switch {
	case len(o.Container) < 3 || len(o.Container) > 63 || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(o.Container):
		return fmt.Errorf("azure: container name %q: want 3 to 63 of a-z, 0-9 and single hyphens", o.Container)
	case !regexp.MustCompile(`^[a-z0-9]{3,24}$`).MatchString(o.Account):
		return fmt.Errorf("azure: account name %q: want 3 to 24 of a-z and 0-9", o.Account)
	case len(o.Prefix) > maxPrefixBytes:
		return fmt.Errorf("azure: prefix of %d bytes, want at most %d", len(o.Prefix), maxPrefixBytes)
	case o.Prefix != "" && CheckKey(o.Prefix) != nil:
		return fmt.Errorf("azure: prefix: %w", CheckKey(o.Prefix))
	}
	o.Endpoint = cmp.Or(o.Endpoint, "https://"+o.Account+".blob.core.windows.net")
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return errors.New("azure: endpoint: want https://HOST[/PATH] and nothing else")
	}
	switch {
	case o.Auth == AuthSharedKey && o.Key == "", o.Auth == AuthSAS && o.SAS == "":
		return fmt.Errorf("azure: authentication %s without its secret", o.Auth)
	case o.Auth == AuthSAS && u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("azure: endpoint: a SAS token travels over https only")
	case o.Auth != AuthSharedKey && o.Auth != AuthSAS && o.Auth != AuthIdentity:
		return fmt.Errorf("azure: unknown authentication %q: want %s, %s, %s or %s", o.Auth, AuthConnectionString, AuthSharedKey, AuthSAS, AuthIdentity)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// readConnectionString replaces the connection string by its parts.
func (o *AzureOptions) readConnectionString() error {
	if o.ConnectionString == "" {
		return errors.New("azure: authentication connection-string without its secret")
	}
	if o.Endpoint != "" {
		return errors.New("azure: give the endpoint in the connection string or apart, not both")
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(string(o.ConnectionString), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	account := parts["AccountName"]
	if o.Account != "" && account != "" && o.Account != account {
		return fmt.Errorf("azure: account %q, but the connection string is for %q", o.Account, account)
	}
	o.Endpoint = parts["BlobEndpoint"]
	if u, err := url.Parse(o.Endpoint); account == "" && o.Account == "" && err == nil {
		account, _, _ = strings.Cut(u.Host, ".")
	}
	o.Account = cmp.Or(o.Account, account)
	if o.Endpoint == "" {
		o.Endpoint = cmp.Or(parts["DefaultEndpointsProtocol"], "https") + "://" + o.Account +
			".blob." + cmp.Or(parts["EndpointSuffix"], "core.windows.net")
	}
	switch {
	case parts["AccountKey"] != "":
		o.Auth, o.Key = AuthSharedKey, Secret(parts["AccountKey"])
	case parts["SharedAccessSignature"] != "":
		o.Auth, o.SAS = AuthSAS, Secret(parts["SharedAccessSignature"])
	default:
		return errors.New("azure: the connection string has neither AccountKey nor SharedAccessSignature")
	}
	return nil
}

// dfsHost is the host in abfs locations. They name the account's public host
// whichever way it is reached.
func (o *AzureOptions) dfsHost() string {
	if u, err := url.Parse(o.Endpoint); err == nil {
		if suffix, ok := strings.CutPrefix(u.Host, o.Account+".blob."); ok {
			return o.Account + ".dfs." + suffix
		}
	}
	return o.Account + ".dfs.core.windows.net"
}
