// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// draft is an object on its way in: checked by itself, not yet against the others.
type draft struct {
	object gateway.Object
	// fields are the object's value, taken apart.
	fields fields
}

// put creates an object or replaces it.
func (h *Handler) put(w http.ResponseWriter, q *request) error {
	fs, err := q.members()
	if err != nil {
		return err
	}
	id, err := q.chooseID(&fs)
	if err != nil {
		return err
	}
	if err := q.forbidTimes(fs); err != nil {
		return err
	}
	d, err := h.draft(q, id, fs)
	if err != nil {
		return err
	}
	status := http.StatusOK
	err = h.submit(q, d, func(tx gateway.Tx) ([]gateway.Change, error) {
		prior, exists := tx.Object(q.kind, d.object.ID)
		if err := q.condition.check(q.kind, d.object.ID, prior, exists); err != nil {
			return nil, err
		}
		if !exists {
			status = http.StatusCreated
		}
		return d.store(tx, q, h.now(), prior.Value)
	})
	if err != nil {
		return err
	}
	h.writeObject(w, status, q, d.object)
	return nil
}

// post creates an object under an id that is made for it.
func (h *Handler) post(w http.ResponseWriter, q *request) error {
	fs, err := q.members()
	if err != nil {
		return err
	}
	if q.id != "" || fs.get("id") != nil {
		return badRequest("wrong " + q.noun + " id, do not need it")
	}
	if err := q.forbidTimes(fs); err != nil {
		return err
	}
	d, err := h.draft(q, "", fs)
	if err != nil {
		return err
	}
	err = h.submit(q, d, func(tx gateway.Tx) ([]gateway.Change, error) {
		id := freeID(tx, &q.target)
		d.object.ID = q.objectID(id)
		d.fields.set("id", quote(q.shownID(id)))
		return d.store(tx, q, h.now(), nil)
	})
	if err != nil {
		return err
	}
	h.writeObject(w, http.StatusCreated, q, d.object)
	return nil
}

// freeID makes an id of the revision that its object will have, unless somebody has chosen the same text before.
func freeID(tx gateway.Tx, t *target) string {
	for n := tx.Next; ; n++ {
		id := fmt.Sprintf("%020d", n)
		if _, taken := tx.Object(t.kind, t.objectID(id)); !taken {
			return id
		}
	}
}

// members returns the members of the body.
func (q *request) members() (fields, error) {
	if q.body == nil {
		return nil, badRequest("missing configurations")
	}
	if !isObject(q.body) {
		return nil, badRequest("invalid configuration: wrong type: expected object, got " + luaType(q.body))
	}
	return parseFields(q.body), nil
}

// luaType names the type of a JSON value as APISIX's messages do.
func luaType(value []byte) string {
	switch value[0] {
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "nil"
	case '[', '{':
		return "table"
	}
	return "number"
}

// chooseID settles the object's short id from path and body, and what the value says about it. Kinds that are named by a
// member have no id but that.
func (q *request) chooseID(fs *fields) (string, error) {
	if q.named != "" {
		name, ok := stringOf(fs.get(q.named))
		if ok && q.id != "" && q.id != name {
			return "", badRequest("wrong " + q.named)
		}
		// Whether there is a good name at all is a question for the schema.
		return name, nil
	}
	given := fs.get("id")
	id := q.id
	if id == "" && given != nil && !q.overwritesID {
		var ok bool
		if id, ok = idText(given); !ok {
			return "", errBadID
		}
	} else if given != nil && !q.overwritesID {
		if text, ok := idText(given); !ok || text != id && text != q.shownID(id) {
			return "", badRequest("wrong " + q.noun + " id")
		}
		given = nil
	}
	if id == "" {
		return "", q.noID(q.Method)
	}
	if err := q.checkID(id); err != nil {
		return "", err
	}
	// A number that only the body gives stays a number.
	if q.id != "" || luaType(given) != "number" {
		fs.set("id", quote(q.shownID(id)))
	}
	return id, nil
}

// idText returns the text of an id, which is a string or a whole number.
func idText(value []byte) (text string, ok bool) {
	if text, ok := stringOf(value); ok {
		return text, true
	}
	if _, err := strconv.ParseUint(string(value), 10, 64); err == nil {
		return string(value), true
	}
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || n != math.Trunc(n) || math.Abs(n) > 1<<53 {
		return "", false
	}
	return strconv.FormatFloat(n, 'f', 0, 64), true
}

// forbidTimes refuses the times that a client may read but not write.
func (q *request) forbidTimes(fs fields) error {
	if q.untimed {
		return nil
	}
	for _, place := range [...]struct {
		name   string
		prefix string
		fields fields
	}{
		{"", "", fs},
		{"upstream", "upstream.", parseFields(fs.get("upstream"))},
		{"plugins", "plugins.", parseFields(fs.get("plugins"))},
	} {
		for _, name := range [...]string{"create_time", "update_time"} {
			if value := place.fields.get(name); value != nil && string(value) != "false" {
				return badRequest("the property is forbidden:  " + place.prefix + name)
			}
		}
	}
	return nil
}

// draft checks what of an object can be checked without the others, and encrypts its secrets. id is empty when it is not
// known yet.
func (h *Handler) draft(q *request, id string, fs fields) (*draft, error) {
	d := &draft{object: gateway.Object{Kind: q.kind, Value: fs.text()}, fields: fs}
	if id != "" {
		d.object.ID = q.objectID(id)
	}
	if err := h.check(d.object); err != nil {
		return nil, h.explain(err, d.object)
	}
	d.object.Value = h.seal(d.object)
	d.fields = parseFields(d.object.Value)
	return d, nil
}

// check checks an object by itself.
func (h *Handler) check(o gateway.Object) error {
	// A client may send back a private key as it was answered.
	o.Value = h.keyring.DecryptFields(o.Value, privateKeys[o.Kind]...)
	value, err := schema.Decode(o.Value)
	if err != nil {
		return badRequest("invalid configuration: " + err.Error())
	}
	if err := schema.Check(o.Kind, value); err != nil {
		return err
	}
	return h.checker.Check(o)
}

// store checks the draft against the other objects, completes it and returns the change that stores it. prior is the
// value that it replaces, or nil. It runs on the committer.
func (d *draft) store(tx gateway.Tx, q *request, now time.Time, prior []byte) ([]gateway.Change, error) {
	if d.object.ID == "" {
		return nil, q.noID(q.Method)
	}
	if err := q.checkFolder(tx); err != nil {
		return nil, err
	}
	if err := checkReferences(tx, q.resource, d); err != nil {
		return nil, err
	}
	if !q.untimed {
		stamp := unixTime(now)
		created := lookup(prior, "create_time")
		if created == nil {
			created = stamp
		}
		d.fields.set("create_time", created)
		d.fields.set("update_time", stamp)
	}
	d.object.Value = d.fields.text()
	d.object.Expires = q.expires(now)
	return []gateway.Change{{Object: d.object}}, nil
}

func (q *request) expires(now time.Time) time.Time {
	if q.ttl == 0 {
		return time.Time{}
	}
	return now.Add(q.ttl)
}

func unixTime(t time.Time) []byte { return strconv.AppendInt(nil, t.Unix(), 10) }

// certificatesField says of each host in a written object for which Caddy manages a certificate whether that is issued,
// pending or failed.
const certificatesField = "X-Ando-Certificates"

// writeObject answers with an object as it is stored.
func (h *Handler) writeObject(w http.ResponseWriter, status int, q *request, o gateway.Object) {
	if q.certificates != "" {
		w.Header().Set(certificatesField, q.certificates)
	}
	warnOfPatterns(w, o)
	var body fields
	body.set("key", quote(o.Key()))
	body.set("value", h.echoed(q.resource, o.Value))
	writeJSON(w, status, append(body.text(), '\n'))
}
