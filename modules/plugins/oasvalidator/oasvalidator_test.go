// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

// description returns a description of testdata as a member of a config.
func description(t testing.TB, file string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	return `"spec":` + string(quoted)
}

// request is one that is sent, and what is said to be wrong with it: empty when nothing is. Fields are "Name: value".
type request struct{ method, target, fields, body, want string }

const (
	asJSON = "Content-Type: application/json"
	asForm = "Content-Type: application/x-www-form-urlencoded"
	parts  = "Content-Type: multipart/form-data; boundary=B"
	traced = asJSON + "\nX-Trace: 00af"
)

func part(head, content string) string {
	return "--B\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + content + "\r\n"
}

var requests30 = []request{
	{"GET", "/pets", "", "", "query parameter 'limit': required parameter is missing"},
	{"GET", "/pets?limit=", "", "", "query parameter 'limit': required parameter is missing"},
	{"GET", "/pets?limit", "", "", "query parameter 'limit': required parameter is missing"},
	{"GET", "/pets?limit=5", "", "", ""},
	{"GET", "/pets/?limit=5", "", "", ""},
	{"GET", "/pets?limit=%35", "", "", ""},
	{"GET", "/pets?limit=100", "", "", "query parameter 'limit': expected 100 to be smaller than 100"},
	{"GET", "/pets?limit=0x5", "", "", "query parameter 'limit': wrong type: expected integer, got string"},
	{"GET", "/pets?limit=1.5", "", "", "query parameter 'limit': wrong type: expected integer, got number"},
	{"GET", "/pets?limit=5&limit=500", "", "", "query parameter 'limit': wrong type: expected integer, got table"},
	{"GET", "/pets?limit=1e999", "", "", "query parameter 'limit': wrong type: expected integer, got string"},
	{"GET", "/pets?limit=1&tags=a&tags=bb", "", "", ""},
	{"GET", "/pets?limit=1&tags=a,b,c", "", "", "query parameter 'tags': failed to validate item 1: string too long, expected at most 3, got 5"},
	{"GET", "/pets?limit=1&tags=a&tags=b&tags=c", "", "", "query parameter 'tags': expect array to have at most 2 items"},
	{"GET", "/pets?limit=1&ids=1,2,3", "", "", ""},
	{"GET", "/pets?limit=1&ids=1,b", "", "", "query parameter 'ids': failed to validate item 2: wrong type: expected integer, got string"},
	{"GET", "/pets?limit=1&ids=1&ids=2", "", "", "query parameter 'ids': parameter is given more than once"},
	{"GET", "/pets?limit=1&sizes=1|2.5", "", "", ""},
	{"GET", "/pets?limit=1&sizes=1,2", "", "", "query parameter 'sizes': failed to validate item 1: wrong type: expected number, got string"},
	{"GET", "/pets?limit=1&words=a+b&words", "", "", "query parameter 'words': parameter is given more than once"},
	{"GET", "/pets?limit=1&words=a%20c", "", "", "query parameter 'words': failed to validate item 2: matches none of the enum values"},
	{"GET", "/pets?limit=1&filter[min]=3&filter[in]=1&filter[in]=2&filter[by][age]=4", "", "", ""},
	{"GET", "/pets?limit=1&filter%5Bmin%5D=x", "", "", `query parameter 'filter': property "min" validation failed: wrong type: expected integer, got string`},
	{"GET", "/pets?limit=1&filter[min]=3&filter[min]=4", "", "", `query parameter 'filter': property "min" validation failed: wrong type: expected integer, got table`},
	{"GET", "/pets?limit=1&filter[in][]=1", "", "", ""},
	{"GET", "/pets?limit=1&filter[by][age]=x", "", "", `query parameter 'filter': property "by" validation failed: property "age" validation failed: wrong type: expected integer, got string`},
	{"GET", "/pets?limit=1&filter[other]=1", "", "", "query parameter 'filter': additional properties forbidden, found other"},
	{"GET", "/pets?limit=1&from=1&to=2", "", "", ""},
	{"GET", "/pets?limit=1&from=1&to=b", "", "", `query parameter 'range': property "to" validation failed: wrong type: expected integer, got string`},
	{"GET", "/pets?limit=1&pair=x,1", "", "", ""},
	{"GET", "/pets?limit=1&pair=x,a", "", "", `query parameter 'pair': property "x" validation failed: wrong type: expected integer, got string`},
	{"GET", "/pets?limit=1&pair=x", "", "", `query parameter 'pair': parameter is no list of members`},
	{"GET", "/pets?limit=1&pair=x,1,x,2", "", "", `query parameter 'pair': parameter is no list of members`},
	{"GET", "/pets?limit=1&dry=true", "", "", ""},
	{"GET", "/pets?limit=1&dry=0", "", "", ""},
	{"GET", "/pets?limit=1&dry=yes", "", "", "query parameter 'dry': wrong type: expected boolean, got string"},
	{"GET", "/pets?limit=1&flag", "", "", ""},
	{"GET", "/pets?limit=1&flag=x", "", "", "query parameter 'flag': wrong type: expected integer, got string"},
	{"GET", "/pets?limit=1&either=12", "", "", ""},
	{"GET", "/pets?limit=1&either=0", "", "", ""},
	{"GET", "/pets?limit=1&either=5", "", "", "query parameter 'either': object matches none of the required"},
	{"GET", "/pets?limit=1&where=%7B%22a%22:1%7D", "", "", ""},
	{"GET", "/pets?limit=1&where=%7B%22b%22:1%7D", "", "", `query parameter 'where': property "a" is required`},
	{"GET", "/pets?limit=1&where=a", "", "", "query parameter 'where': invalid JSON: invalid character 'a' looking for beginning of value"},
	{"GET", "/pets?limit=0&dry=x", "", "", "query parameter 'limit': expected 0 to be at least 1\nquery parameter 'dry': wrong type: expected boolean, got string"},

	{"GET", "/pets/1", "", "", ""},
	{"GET", "/pets/x", "", "", "path parameter 'id': wrong type: expected integer, got string"},
	{"GET", "/pets/0", "", "", "path parameter 'id': expected 0 to be at least 1"},
	{"GET", "/pets/mine", "", "", ""},
	{"DELETE", "/pets/all", "", "", ""},
	{"DELETE", "/pets/1", "", "", "path parameter 'id': matches none of the enum values"},
	{"DELETE", "/pets/mine", "", "", "path parameter 'id': matches none of the enum values"},
	{"GET", "/pets/1/2", "", "", "no matching operation found for GET /pets/1/2"},
	{"PUT", "/pets/1", "", "", "no matching operation found for PUT /pets/1"},
	{"HEAD", "/pets/1", "", "", "-"},
	{"GET", "/ignored/pets/1", "", "", "no matching operation found for GET /ignored/pets/1"},
	{"GET", "/files/a.png", "", "", ""},
	{"GET", "/files/a.tar.gz", "", "", ""},
	{"GET", "/files/a.exe", "", "", "path parameter 'ext': matches none of the enum values"},
	{"GET", "/files/abcde.png", "", "", "path parameter 'name': string too long, expected at most 4, got 5"},
	{"GET", "/files/.png", "", "", "no matching operation found for GET /files/.png"},
	{"GET", "/styles/.5/;b=6/1,2/x,3/.7.8", "", "", ""},
	{"GET", "/styles/.a/;b=b/1,c/x,d/.7.e", "", "", "path parameter 'a': wrong type: expected integer, got string\n" +
		"path parameter 'b': wrong type: expected integer, got string\n" +
		"path parameter 'c': failed to validate item 2: wrong type: expected integer, got string\n" +
		"path parameter 'd': property \"x\" validation failed: wrong type: expected integer, got string\n" +
		"path parameter 'e': failed to validate item 2: wrong type: expected integer, got string"},

	{"POST", "/pets", traced, `{"name":"a","status":null,"mother":{"name":"b"}}`, ""},
	{"POST", "/pets", "content-type: Application/JSON; charset=utf-8\nx-trace: 00af\nX-List: 1, 2\nX-List: 3", `{"name":"a","schema":null}`, ""},
	{"POST", "/pets", "Content-Type: application/vnd.pet+json\nX-Trace: 00af", `{"name":1}`, `body: property "name" validation failed: wrong type: expected string, got number`},
	{"POST", "/pets", asJSON, `{"name":"a"}`, "header parameter 'X-Trace': required parameter is missing"},
	{"POST", "/pets", asJSON + "\nX-Trace: 00zz", `{"name":"a"}`, `header parameter 'X-Trace': failed to match pattern "^[a-f0-9]{4}$" with "00zz"`},
	{"POST", "/pets", traced + "\nX-Trace: 00ff", `{"name":"a"}`, `header parameter 'X-Trace': failed to match pattern "^[a-f0-9]{4}$" with "00af, 00ff"`},
	{"POST", "/pets", traced + "\nX-List: 1,b", `{"name":"a"}`, "header parameter 'X-List': failed to validate item 2: wrong type: expected integer, got string"},
	{"POST", "/pets", traced, ``, "body: request body is required"},
	{"POST", "/pets", traced, `{`, "body: invalid JSON body: unexpected EOF"},
	{"POST", "/pets", traced, `{"name":"a"}{}`, "body: invalid JSON body: expected the end of the document at offset 13"},
	{"POST", "/pets", traced, `{"name":"","name":"b"}`, `body: invalid JSON body: the member "name" is there twice`},
	{"POST", "/pets", traced, `{"name":"a","mother":{"name":"","n\u0061me":"b"}}`, `body: invalid JSON body: the member "name" is there twice`},
	{"POST", "/pets", traced, strings.Repeat("[", 200), "body: invalid JSON body: nested deeper than 100 levels"},
	{"POST", "/pets", traced, `{}`, `body: property "name" is required`},
	{"POST", "/pets", traced, `{"id":1,"name":"a"}`, "body parameter 'id': readOnly property 'id' should not be sent in request"},
	{"POST", "/pets", traced, `{"name":"a","status":"lost"}`, `body: property "status" validation failed: matches none of the enum values`},
	{"POST", "/pets", traced, `{"name":null}`, `body: property "name" validation failed: wrong type: expected string, got userdata`},
	{"POST", "/pets", traced, `{"name":"a","born":"1.1.2000"}`, `body: property "born" validation failed: expect valid date format but got: 1.1.2000`},
	{"POST", "/pets", traced, `{"name":"a","code":"xa"}`, `body: property "code" validation failed: failed to match pattern "^(?!x)[a-z]+$" with "xa"`},
	{"POST", "/pets", traced, `{"name":"$secret://vault/1/a/b","status":"$env://A"}`, `body: property "status" validation failed: matches none of the enum values`},
	{"POST", "/pets", traced, `{"name":"a","mother":{"name":"b","mother":{"x":1}}}`, `body: property "mother" validation failed: property "mother" validation failed: property "name" is required`},
	{"POST", "/pets", "Content-Type: text/plain; a=application/json\nX-Trace: 00af", `{"name":"a"}`, "body: content type text/plain; a=application/json is not declared in the spec"},
	{"POST", "/pets", "X-Trace: 00af", `{"name":"a"}`, "body: content type  is not declared in the spec"},
	{"POST", "/pets", traced + "\nContent-Type: application/json", `{"name":"a"}`, "body: content type application/json is not declared in the spec"},

	{"POST", "/form", asForm, "n=1&on=true&list=1&list=2&x=y&o=%7B%22a%22%3A1%7D", ""},
	{"POST", "/form", asForm, "n=1&list=3", ""},
	{"POST", "/form", asForm, "n=1&list=[1,2]", ""},
	{"POST", "/form", asForm, "n=a", `body: property "n" validation failed: wrong type: expected integer, got string`},
	{"POST", "/form", asForm, "n=1&n=2", `body: property "n" validation failed: wrong type: expected integer, got table`},
	{"POST", "/form", asForm, "on=1", `body: property "n" is required`},
	{"POST", "/form", asForm, "n=1&o=%7B%7D", `body: property "o" validation failed: property "a" is required`},
	{"POST", "/form", asForm, "n=%zz", `body: invalid form body: invalid URL escape "%zz"`},
	{"POST", "/form", "Content-Type: text/plain", "n=a", ""},
	{"POST", "/form", "Content-Type: image/png", "x", ""},
	{"POST", "/form", "Content-Type: video/png", "x", "body: content type video/png is not declared in the spec"},
	{"POST", "/form", parts, part(`name="file"; filename="a"`, "\x00\xff") + part(`name="n"`, "3") + part("name=\"meta\"\r\nContent-Type: application/json", `{"a":1}`) + "--B--\r\n", ""},
	{"POST", "/form", parts, part(`name="n"`, "x") + part(`name="file"`, "") + "--B--\r\n", `body: property "n" validation failed: wrong type: expected integer, got string`},
	{"POST", "/form", parts, part("name=\"meta\"\r\nContent-Type: application/json", `{}`) + part(`name="file"`, "") + "--B--\r\n", `body: property "meta" validation failed: property "a" is required`},
	{"POST", "/form", parts, part(`name="n"`, "1") + "--B--\r\n", `body: property "file" is required`},
	{"POST", "/form", parts, part(`name="file"`, "x"), "body: invalid multipart body: unexpected EOF"},
	{"POST", "/form", "Content-Type: multipart/form-data", "x", "body: missing multipart boundary"},
	{"POST", "/any", asJSON, `{}`, `body: property "a" is required`},
	{"POST", "/any", "", `{}`, ""},
	{"POST", "/open", asJSON, `{`, ""},
	{"POST", "/steps", asJSON, `{"n":1.13}`, ""},
	{"POST", "/steps", asJSON, `{"n":1.1312}`, `body: property "n" validation failed: expected 1.1312 to be a multiple of 0.01`},
}

var requests31 = []request{
	{"PUT", "/points", asJSON, `null`, ""},
	{"PUT", "/points", asJSON, `{"at":[1,2]}`, ""},
	{"PUT", "/points", asJSON, `{"at":[1,2,3]}`, `body: property "at" validation failed: found unexpected extra items in array`},
	{"PUT", "/points", asJSON, `{"at":[1,"2"]}`, `body: property "at" validation failed: failed to validate item 2: wrong type: expected number, got string`},
	{"PUT", "/points", asJSON, `{"at":[1,2],"name":"ab","kind":"p","above":4}`, ""},
	{"PUT", "/points", asJSON, `{"at":[1],"name":"ab","kind":"p","above":4}`, `body: failed to validate dependent schema for "above": property "at" validation failed: expect array to have at least 2 items`},
	{"PUT", "/points", asJSON, `{"at":[1,2],"name":"abcd"}`, `body: property "name" validation failed: string too long, expected at most 3, got 4`},
	{"PUT", "/points", asJSON, `{"at":[1,2],"name":"a"}`, `body: property "name" validation failed: allOf 1 failed: string too short, expected at least 2, got 1`},
	{"PUT", "/points", asJSON, `{"at":[1,2],"name":"ab","above":4}`, `body: failed to validate dependent schema for "name": allOf 1 failed: property "kind" is required`},
	{"PUT", "/points", asJSON, `{"at":[1,2],"above":3}`, `body: property "above" validation failed: expected 3 to be greater than 3`},
	{"PUT", "/points", asJSON, `{"at":[1,2],"tree":{"leaf":1,"b":{"leaf":"x"}}}`, `body: property "tree" validation failed: failed to validate additional property b: property "leaf" validation failed: wrong type: expected integer, got string`},
}

func TestRequests(t *testing.T) {
	for file, requests := range map[string][]request{"api30.json": requests30, "api31.json": requests31} {
		plugintest.OnEach(t, `{"oas-validator":{`+description(t, file)+`,"verbose_errors":true}}`, func(s *plugintest.Site) {
			for _, r := range requests {
				var fields []string
				for line := range strings.Lines(r.fields) {
					name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
					fields = append(fields, name, value)
				}
				got := s.Do(r.method, r.target, r.body, fields...)
				status, body := 200, "node"
				if r.want != "" {
					text, _ := json.Marshal(refused + r.want)
					status, body = 400, fmt.Sprintf("{\"message\":%s}\n", text)
				}
				if r.want == "-" {
					body = ""
				}
				if got.Status != status || got.Body != body || (s.Saw != nil) != (r.want == "") {
					s.Errorf("%s %s %q %q: got %d %s, want %d %s", r.method, r.target, r.fields, r.body, got.Status, got.Body, status, body)
				}
				if s.Saw != nil && s.SawBody != r.body {
					s.Errorf("%s %s: the node was sent %q", r.method, r.target, s.SawBody)
				}
			}
		})
	}
}

// TestConfigs: whatever is wrong with a description is said when it is written.
func TestConfigs(t *testing.T) {
	spec := func(text string) string {
		quoted, _ := json.Marshal(text)
		return `{"spec":` + string(quoted) + `}`
	}
	op := func(text string) string { return spec(`{"openapi":"3.1.0","paths":{"/a":{"get":` + text + `}}}`) }
	const broken = "failed to compile openapi spec, err: "
	plugintest.Check(t, name, []plugintest.Config{
		{spec(`{"openapi":"3.0.0","paths":{}}`), ""},
		{`{"spec_url":"https://specs.test/a.json","spec_url_request_headers":{"Authorization":"Bearer x"}}`, ""},
		{`{}`, "value should match only one schema, but matches none"},
		{`{"spec":"{}","spec_url":"http://h/"}`, "value should match only one schema, but matches both schemas 1 and 2"},
		{`{"spec":""}`, `property "spec" validation failed: string too short`},
		{spec(`invalid json string`), "invalid JSON string provided, err: "},
		{spec(`[]`), broken + "failed to parse spec: an object is expected"},
		{spec(`{}`), broken + "missing the field openapi"},
		{spec(`{"swagger":"2.0","openapi":"2.0"}`), broken + `unsupported OpenAPI version "2.0"`},
		{spec(`{"openapi":"3.0.0","paths":{"/a":[]}}`), broken + "/paths/~1a: an object is expected"},
		{spec(`{"openapi":"3.0.0","paths":{"/a":{"$ref":"https://evil.test/x"}}}`), broken + "failed to resolve $ref: https://evil.test/x is not in the document"},
		{spec(`{"openapi":"3.0.0","paths":{"/{a":{}}}`), broken + "path /{a: a parameter is written {name}"},
		{spec(`{"openapi":"3.0.0","paths":{"/{a}{b}":{}}}`), broken + "path /{a}{b}: there is nothing between two parameters"},
		{op(`[]`), broken + "get /a: /paths/~1a/get: an object is expected"},
		{op(`{"parameters":{}}`), broken + "get /a: /paths/~1a/get/parameters: a list is expected"},
		{op(`{"parameters":[{"name":"x","in":"body"}]}`), broken + "get /a: /paths/~1a/get/parameters/0: a parameter has a name"},
		{op(`{"parameters":[{"name":"x","in":"query","style":"matrix"}]}`), broken + `get /a: /paths/~1a/get/parameters/0: query parameter x: unknown style "matrix"`},
		{op(`{"parameters":[{"$ref":"#/components/parameters/x"}]}`), broken + "get /a: failed to resolve $ref: #/components/parameters/x is not in the document"},
		{op(`{"parameters":[{"$ref":"#/paths/~1a/get/parameters/0"}]}`), broken + "get /a: failed to resolve $ref: /paths/~1a/get/parameters/0 refers to itself"},
		{op(`{"parameters":[{"name":"x","in":"query","schema":{"type":"bogus"}}]}`), broken + "schema at /paths/~1a/get/parameters/0/schema: "},
		{op(`{"parameters":[{"name":"x","in":"query","schema":{"pattern":"("}}]}`), broken + "schema at /paths/~1a/get/parameters/0/schema: "},
		{op(`{"parameters":[{"name":"x","in":"query","schema":{"$ref":"file:///etc/passwd"}}]}`), broken + "schema at /paths/~1a/get/parameters/0/schema: "},
		{op(`{"parameters":[{"name":"x","in":"query","schema":{"unevaluatedItems":false}}]}`), broken + "normalization error: unsupported OpenAPI 3.1 keyword: unevaluatedItems"},
		{`{"spec_url":"ftp://h/"}`, `property "spec_url" validation failed: failed to match pattern`},
		{`{"spec_url":"http://"}`, `property "spec_url" validation failed: "http://" is not an http or https URL`},
		{`{"spec_url":"http://h/","spec_url_request_headers":{"a b":"c"}}`, `property "spec_url_request_headers" validation failed: no header field can hold "a b"`},
		{`{"spec_url":"http://h/","timeout":999}`, `property "timeout" validation failed: expected 999 to be at least 1000`},
		{`{"spec":"{}","rejection_status_code":399}`, `property "rejection_status_code" validation failed: expected 399 to be at least 400`},
		{`{"spec":"{}","max_req_body_size":0}`, `property "max_req_body_size" validation failed: expected 0 to be at least 1`},
	})
}

// TestShared: configs with one description have one document between them.
func TestShared(t *testing.T) {
	config := description(t, "api30.json")
	compiled := func(config string) *validator {
		v, err := plugintest.Compile(t, name, config)
		if err != nil {
			t.Fatal(err)
		}
		return v.(*validator)
	}
	one, other := compiled(`{`+config+`}`), compiled(`{`+config+`,"verbose_errors":true}`)
	if one.document != other.document {
		t.Error("two documents were compiled")
	}
	if compiled(`{`+description(t, "api31.json")+`}`).document == one.document {
		t.Error("two descriptions have one document")
	}
	one, other = compiled(`{"spec_url":"http://a.test/"}`), compiled(`{"spec_url":"http://a.test/","verbose_errors":true}`)
	if one.source != other.source {
		t.Error("the description would be fetched twice")
	}
	if compiled(`{"spec_url":"http://a.test/","spec_url_request_headers":{"a":"b"}}`).source == one.source {
		t.Error("what one may see the other one would see")
	}
}

// FuzzDocument: no description takes the gateway down.
func FuzzDocument(f *testing.F) {
	for _, file := range []string{"api30.json", "api31.json"} {
		raw, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		d, err := compileDocument(raw)
		if err == nil {
			d.match("GET", "/pets/1")
		}
	})
}

// FuzzValues: nothing in a request takes the gateway down.
func FuzzValues(f *testing.F) {
	f.Add("GET", "/pets", "limit=1&filter[a][b]=c&filter[a]=d&pair=x,1&from=2", asJSON, `{"name":"a"}`)
	f.Add("POST", "/form", "", parts, part(`name="n"`, "1")+"--B--")
	f.Add("GET", "/styles/.5/;b=6/1,2/x,3/.7.8", "", "", "")
	raw, err := os.ReadFile("testdata/api30.json")
	if err != nil {
		f.Fatal(err)
	}
	d, err := compileDocument(raw)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, method, path, query, contentType, body string) {
		x := &gateway.Exchange{}
		x.Request.Method, x.Request.Path, x.Request.Query = method, path, query
		x.Request.Header.Add("Content-Type", strings.TrimPrefix(contentType, "Content-Type: "))
		x.SetBody([]byte(body), nil)
		_ = d.check(x, skips{})
	})
}

func BenchmarkCheck(b *testing.B) {
	x := plugintest.Open(b, `{"oas-validator":{`+description(b, "api30.json")+`}}`)
	x.Bench(b, func(x *gateway.Exchange) { x.Request.Path = "/pets/12" })
}

func BenchmarkBody(b *testing.B) {
	raw, err := os.ReadFile("testdata/api30.json")
	if err != nil {
		b.Fatal(err)
	}
	d, err := compileDocument(raw)
	if err != nil {
		b.Fatal(err)
	}
	x := &gateway.Exchange{}
	x.Request.Method, x.Request.Path = "POST", "/pets"
	x.Request.Header.Add("Content-Type", "application/json")
	x.Request.Header.Add("X-Trace", "00af")
	x.SetBody([]byte(`{"name":"a","status":null,"born":"2020-01-02","mother":{"name":"b"}}`), nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.check(x, skips{}); err != nil {
			b.Fatal(err)
		}
	}
}
