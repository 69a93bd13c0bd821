// SPDX-License-Identifier: Apache-2.0

// Package admin is APISIX's Admin API as one http.Handler over a [gateway.Gateway].
//
// What a write promises: a 2xx answer means that the object is durable and that every request which starts after the
// answer is served by it. Anything else means that nothing was stored. Reads come from the newest table, so a client
// always reads its own writes, and whatever a decision rests on (does the object exist, what refers to it, what is
// patched) is read where the write is applied: two clients cannot get past each other.
//
// Objects are kept as text. What a client sent comes back with its own members, order and number spelling, plus id,
// create_time and update_time; schema defaults are filled in for compiling alone and never stored. White space is not
// kept, and of two members with one name the last stands, as everywhere in APISIX.
//
// Beside APISIX's contract there are ETags (If-Match and If-None-Match are decided where the write is applied),
// `dry_run=true` on every write, and `errors` with everything that a schema finds, next to APISIX's one error_msg.
//
// Paths, envelopes, statuses and messages are those of APISIX 3.x. Where what it does is a hazard this package is safe
// instead: private keys of certificates never leave it, and without an API key it answers only what a browser could not
// have been tricked into sending.
package admin
