// SPDX-License-Identifier: Apache-2.0

package ldapauth

import (
	"testing"

	"github.com/andogate/ando/modules/plugins/directory/directorytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"base_dn":"dc=x","ldap_uri":"h:389"}`},
		{Text: `{"base_dn":"dc=x"}`, Want: `property "ldap_uri" is required`},
		{Text: `{"base_dn":"dc=x","ldap_uri":""}`, Want: `property "ldap_uri" validation failed: "" is not a host with a port`},
	})
}

// TestCases asks a real directory.
func TestCases(t *testing.T) { directorytest.Start(t, false).Run(t, "testdata/login.case") }
