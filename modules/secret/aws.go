// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/andogate/ando/modules/outbound"
)

// fetchAWS reads the current version of a secret from AWS Secrets Manager (GetSecretValue).
func fetchAWS(ctx context.Context, r Reference, settings json.RawMessage) (string, error) {
	var c struct {
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SessionToken    string `json:"session_token"`
		Region          string `json:"region"`
		Endpoint        string `json:"endpoint_url"`
	}
	if err := json.Unmarshal(settings, &c); err != nil {
		return "", err
	}
	for _, setting := range []*string{&c.AccessKeyID, &c.SecretAccessKey, &c.SessionToken, &c.Region, &c.Endpoint} {
		text, err := expand(*setting)
		if err != nil {
			return "", err
		}
		*setting = text
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Endpoint == "" {
		c.Endpoint = "https://secretsmanager." + c.Region + ".amazonaws.com"
	}
	body, err := json.Marshal(map[string]string{"SecretId": r.Name, "VersionStage": "AWSCURRENT"})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Endpoint, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if req.URL.Path == "" {
		req.URL.Path = "/"
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	if c.SessionToken != "" {
		req.Header.Set("X-Amz-Security-Token", c.SessionToken)
	}
	sign(req, body, awsKey{c.AccessKeyID, c.SecretAccessKey, c.Region, "secretsmanager"}, time.Now())
	var answer struct{ SecretString string }
	if err := ask(req, outbound.Options{Timeout: callTimeout}, &answer); err != nil {
		return "", err
	}
	return r.member(answer.SecretString)
}

type awsKey struct{ id, secret, region, service string }

// sign adds the fields of AWS Signature Version 4 to a request with a path of unreserved characters and no query. The
// fields that are there already are signed.
func sign(req *http.Request, body []byte, key awsKey, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	req.Header.Set("X-Amz-Date", stamp)
	fields := []struct{ name, value string }{
		{"content-type", req.Header.Get("Content-Type")},
		{"host", req.URL.Host},
		{"x-amz-date", stamp},
	}
	if token := req.Header.Get("X-Amz-Security-Token"); token != "" {
		fields = append(fields, struct{ name, value string }{"x-amz-security-token", token})
	}
	if target := req.Header.Get("X-Amz-Target"); target != "" {
		fields = append(fields, struct{ name, value string }{"x-amz-target", target})
	}
	var canonical, names string
	for i, f := range fields {
		canonical += f.name + ":" + f.value + "\n"
		if i > 0 {
			names += ";"
		}
		names += f.name
	}
	digest := sha256.Sum256(body)
	request := req.Method + "\n" + req.URL.EscapedPath() + "\n\n" + canonical + "\n" + names + "\n" + hex.EncodeToString(digest[:])
	scope := stamp[:8] + "/" + key.region + "/" + key.service + "/aws4_request"
	hashed := sha256.Sum256([]byte(request))
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(hashed[:])
	signing := []byte("AWS4" + key.secret)
	for _, part := range []string{stamp[:8], key.region, key.service, "aws4_request", text} {
		mac := hmac.New(sha256.New, signing)
		mac.Write([]byte(part))
		signing = mac.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key.id+"/"+scope+
		", SignedHeaders="+names+", Signature="+hex.EncodeToString(signing))
}
