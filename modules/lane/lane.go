// SPDX-License-Identifier: Apache-2.0

// Package lane speaks HTTP/1.1 on raw connections: what it reads and writes are slices, and it does no I/O.
//
// It accepts a subset of what net/http accepts and reads that identically, so that a request means the same wherever it
// is served. Where a message could be framed or routed in two ways it is refused: RFC 9112 allows a server to be strict,
// and leniency is what request smuggling is made of.
package lane

// Limits bound what one message head may cost. The zero value of a field is its default.
type Limits struct {
	// HeadBytes bounds a head, start line included; above it a request is answered 431. Default 32 KiB, nginx's
	// large_client_header_buffers.
	HeadBytes int
	// TargetBytes bounds the request target; above it a request is answered 414. Default 8 KiB, nginx's.
	TargetBytes int
	// Fields bounds the number of field lines; above it a request is answered 431. Default 100, as in APISIX, whose
	// plugins see no more.
	Fields int
	// NameBytes bounds a field name; above it a request is answered 431. Default 256.
	NameBytes int
}

// DefaultLimits are the limits of a lane that was told nothing.
var DefaultLimits = Limits{HeadBytes: 32 << 10, TargetBytes: 8 << 10, Fields: 100, NameBytes: 256}

// Refusal is why a request is not served: the connection is answered with Status and closed. Why is for the log.
type Refusal struct {
	Status int
	Why    string
}

func (r *Refusal) Error() string { return r.Why }

// Refusals are made once: refusing a flood of bad requests allocates nothing.
var (
	errControl          = &Refusal{400, "control character in the head"}
	errBareLF           = &Refusal{400, "line does not end in CRLF"}
	errHeadTooLarge     = &Refusal{431, "head is too large"}
	errTargetTooLong    = &Refusal{414, "request target is too long"}
	errTooManyFields    = &Refusal{431, "too many field lines"}
	errNameTooLong      = &Refusal{431, "field name is too long"}
	errRequestLine      = &Refusal{400, "malformed request line"}
	errMethod           = &Refusal{400, "method is not a token"}
	errConnect          = &Refusal{405, "CONNECT is not supported"}
	errTrace            = &Refusal{405, "TRACE with a body"}
	errVersion          = &Refusal{400, "malformed HTTP version"}
	errVersionSupport   = &Refusal{505, "HTTP version is not supported"}
	errTarget           = &Refusal{400, "bad request target"}
	errFieldLine        = &Refusal{400, "malformed field line"}
	errFolded           = &Refusal{400, "folded field line"}
	errHostMissing      = &Refusal{400, "HTTP/1.1 request without Host"}
	errHostRepeated     = &Refusal{400, "Host is repeated"}
	errHost             = &Refusal{400, "malformed Host"}
	errHostMismatch     = &Refusal{400, "Host differs from the target's authority"}
	errScheme           = &Refusal{400, "scheme of the target is not the connection's"}
	errLength           = &Refusal{400, "malformed Content-Length"}
	errLengthRepeated   = &Refusal{400, "Content-Length is repeated"}
	errLengthTooLarge   = &Refusal{413, "Content-Length is too large"}
	errCoding           = &Refusal{400, "Transfer-Encoding is not exactly \"chunked\""}
	errCodingAndLength  = &Refusal{400, "Content-Length together with Transfer-Encoding"}
	errCodingVersion    = &Refusal{400, "Transfer-Encoding in an HTTP/1.0 request"}
	errFramingNominated = &Refusal{400, "Connection names a framing field"}
	errExpect           = &Refusal{417, "expectation is not supported"}
	errChunk            = &Refusal{400, "malformed chunk"}
	errChunkTooLarge    = &Refusal{413, "chunk is too large"}
	errHeadTimeout      = &Refusal{408, "request head took too long"}
	errBodyTimeout      = &Refusal{408, "request body took too long"}
	errTrailerTooLarge  = &Refusal{431, "trailer section is too large"}
)
