// SPDX-License-Identifier: Apache-2.0

package ldapauthadvanced

import (
	"testing"

	"github.com/andogate/ando/modules/plugins/directory/directorytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/responserewrite"
)

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"base_dn":"dc=x","ldap_uri":"h:389"}`},
		{Text: `{"base_dn":"dc=x"}`, Want: `property "ldap_uri" is required`},
		{Text: `{"base_dn":"dc=x","ldap_uri":"/"}`, Want: `property "ldap_uri" validation failed: "/" is not a host with a port`},
		{Text: `{"base_dn":"dc=x","ldap_uri":"h","attribute":"a=b"}`, Want: `property "attribute" validation failed: `},
		{Text: `{"base_dn":"dc=x","ldap_uri":"h","use_ldaps":true,"use_starttls":true}`, Want: `only one of properties "use_ldaps" and "use_starttls" can be true`},
		{Text: `{"base_dn":"dc=x","ldap_uri":"h","bind_dn":"cn=a"}`, Want: `property "ldap_password" is required when "bind_dn" is set`},
	})
}

// TestCases asks real directories.
func TestCases(t *testing.T) {
	for file, private := range map[string]bool{"public": false, "private": true} {
		directorytest.Start(t, private).Run(t, "testdata/"+file+".case")
	}
}
