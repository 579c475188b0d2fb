package bench

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
)

// agents returns user agents of mail clients and image proxies in the lengths
// and the variety in which they come.
func agents() []string {
	return []string{
		"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
		"Mozilla/5.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.7.2 Mobile/15E148 Safari/604.1",
		"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/6.0; Microsoft Outlook 15.0.4420)",
		"Microsoft Office/16.0 (Microsoft Outlook 16.0.12329; Pro), Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
		"Outlook-iOS/709.2042344.prod.iphone (3.21.0)",
		"YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/55.0.2883.87 Safari/537.36 eM Client/8.2.1659.0",
		"Android-Gmail/64562652 (sw411dp; 420dpi) (r7 TP1A.220624.014)",
	}
}

// requests writes one GET request for each path, as a mail client would.
func requests(paths []string) [][]byte {
	names := agents()
	all := make([][]byte, len(paths))
	for i, path := range paths {
		all[i] = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: track.bench.example\r\nUser-Agent: %s\r\n"+
			"Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n"+
			"Accept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n\r\n",
			path, names[i%len(names)])
	}
	return all
}

func pathsOf(pixels []pixel) []string {
	paths := make([]string, len(pixels))
	for i, p := range pixels {
		paths[i] = p.path
	}
	return paths
}

// lookalikes returns as many paths of the same lengths with other tokens, for a
// server that does not read them.
func lookalikes(paths []string) []string {
	random := rand.New(rand.NewPCG(1, 2)) // the same ones in each run
	out := make([]string, len(paths))
	for i, path := range paths {
		token := make([]byte, len(path))
		for j := range token {
			token[j] = byte(random.UintN(256))
		}
		text := base64.RawURLEncoding.EncodeToString(token)
		n := len(path) - len("/o/") - len(".gif")
		out[i] = "/o/" + text[:n] + ".gif"
	}
	return out
}

// shuffled spreads the recipients of each email over the whole sequence.
func shuffled(paths []string) []string {
	random := rand.New(rand.NewPCG(3, 4))
	random.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	return paths
}

// meanLen is the mean length of the requests in bytes.
func meanLen(requests [][]byte) int {
	total := 0
	for _, r := range requests {
		total += len(r)
	}
	return total / len(requests)
}

// mib writes bytes as MiB.
func mib(n int64) float64 { return float64(n) / (1 << 20) }
