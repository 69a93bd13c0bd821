// SPDX-License-Identifier: Apache-2.0

// Package errorpage is APISIX's error-page plugin: it replaces the pages with which the gateway itself says 404, 500, 502 and
// 503.
package errorpage

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "error-page"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 450, Version: 0.1, Schema: configSchema, MetadataSchema: metadataSchema,
		New:         func(gateway.Env, json.RawMessage) (any, error) { return filter{}, nil },
		NewMetadata: compileMetadata,
	})
}

// pages maps statuses to what is said with them. It is immutable.
type pages map[int]page

type page struct {
	body        []byte
	contentType string
}

// compileMetadata leaves out the pages that are not to be used.
func compileMetadata(_ gateway.Env, config json.RawMessage) (any, error) {
	type section struct {
		Body        string `json:"body"`
		ContentType string `json:"content_type"`
	}
	var c struct {
		Enable   bool     `json:"enable"`
		Error404 *section `json:"error_404"`
		Error500 *section `json:"error_500"`
		Error502 *section `json:"error_502"`
		Error503 *section `json:"error_503"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("error-page: %w", err)
	}
	all := make(pages)
	for status, s := range map[int]*section{404: c.Error404, 500: c.Error500, 502: c.Error502, 503: c.Error503} {
		if s == nil || s.Body == "" || !c.Enable {
			continue
		}
		if !httpguts.ValidHeaderFieldValue(s.ContentType) {
			return nil, fmt.Errorf("property \"error_%d\" validation failed: property \"content_type\" validation failed: no field can hold it", status)
		}
		all[status] = page{[]byte(s.Body), s.ContentType}
	}
	return all, nil
}

// filter is the plugin's instance: all it goes by is in the metadata.
type filter struct{}

// FilterHeader implements gateway.HeaderFilter. As in APISIX a request that a node was tried for has its answer, even if that
// is that the node was not to be reached.
func (filter) FilterHeader(x *gateway.Exchange) {
	r := &x.Response
	if r.FromNode || len(x.Forward.Attempts) > 0 {
		return
	}
	all, _ := x.Table.Metadata(name).(pages)
	if p, ok := all[r.Status]; ok {
		r.ClearBodyFields()
		r.Header.Set("Content-Type", p.contentType)
		r.Body = p.body
	}
}

var _ gateway.HeaderFilter = filter{}
