// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

// Response is the response of one exchange. Fields that hooks set before there is a response are kept aside and replace
// the node's of the same name.
type Response struct {
	Status int
	Header Header
	// Body is the whole body of a response that the gateway makes itself, or that it held back for a ResponseReader.
	Body []byte
	// Trailer has, at the last FilterBody, the fields that followed the body of the node's response; what is left in it then
	// is sent, where the client's side has trailers. A filter that takes them away deletes the header's Trailer as well,
	// which announces them.
	Trailer Header
	// FromNode says that a node made the response.
	FromNode bool
}

// ClearBodyFields removes what describes the body as the node sent it: a body filter that changes the body calls it
// from its FilterHeader.
func (r *Response) ClearBodyFields() {
	r.Header.DelFunc(func(name, _ string) bool {
		switch len(name) {
		case 4:
			return EqualFold(name, "ETag")
		case 11:
			return EqualFold(name, "Content-MD5")
		case 13:
			return EqualFold(name, "Last-Modified") || EqualFold(name, "Accept-Ranges")
		case 14:
			return EqualFold(name, "Content-Length")
		case 16:
			return EqualFold(name, "Content-Encoding")
		}
		return false
	})
}

func (r *Response) reset() {
	r.Header.Reset()
	r.Trailer.Reset()
	*r = Response{Header: r.Header, Trailer: r.Trailer}
}

// defaultContentType is that of bodies whose maker names none, as in APISIX.
const defaultContentType = "text/plain; charset=utf-8"

// noRoute is the body for requests that match no route.
var noRoute = []byte(`{"error_msg":"404 Route Not Found"}` + "\n")

var statusPages sync.Map // status int -> page []byte

// statusPage returns the HTML body that goes with a status when nothing better is known.
func statusPage(status int) []byte {
	if page, ok := statusPages.Load(status); ok {
		return page.([]byte)
	}
	title := strconv.Itoa(status)
	if text := http.StatusText(status); text != "" {
		title += " " + text
	}
	page := fmt.Appendf(nil, "<!doctype html>\n<html>\n<head><title>%s</title></head>\n<body>\n"+
		"<center><h1>%[1]s</h1></center>\n<hr><center>Ando</center>\n</body>\n</html>\n", title)
	statusPages.Store(status, page)
	return page
}
