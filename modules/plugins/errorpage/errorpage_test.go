// SPDX-License-Identifier: Apache-2.0

package errorpage

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{{`{}`, ""}, {`{"any":"thing"}`, ""}})
	_, err := compileMetadata(gateway.Env{}, json.RawMessage(`{"enable":true,"error_404":{"body":"x","content_type":"a\nb"}}`))
	if want := `property "error_404" validation failed: property "content_type" validation failed: no field can hold it`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestAllocs(t *testing.T) {
	plugintest.Open(t, `{"error-page":{},"key-auth":{}}`).WantAllocs(t, gateway.StepReply, 0, nil)
}

func BenchmarkErrorPage(b *testing.B) {
	plugintest.Open(b, `{"error-page":{},"key-auth":{}}`).Bench(b, nil)
}
