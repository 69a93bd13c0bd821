// SPDX-License-Identifier: Apache-2.0

package limitcount

import (
	"errors"
	"strconv"
	"time"

	"github.com/andogate/ando/modules/plugins/limit"
)

// fixScript counts in a fixed window, which begins when its key is made and ends when that expires.
//
//	KEYS  the window
//	ARGV  its length in milliseconds, the cost
//	gives what is used, the milliseconds left
var fixScript = limit.NewScript(`
local used = redis.call('INCRBY', KEYS[1], ARGV[2])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
	left = tonumber(ARGV[1])
	redis.call('PEXPIRE', KEYS[1], left)
end
return {used, left}
`)

var errAnswer = errors.New("redis: the script's answer has another shape")

func fixArgs(q quota) []any { return []any{q.window / int64(time.Millisecond), q.cost} }

func fixAnswer(q quota, answer []int64, err error) (state, error) {
	if err != nil {
		return state{}, err
	}
	if len(answer) != 2 {
		return state{}, errAnswer
	}
	return fixedState(q, answer[0], answer[1]*int64(time.Millisecond)), nil
}

// slideSource is sliding.admit by the clock of Redis, which is the same for all gateways.
//
//	KEYS  a hash: w the number of the window, u what is used of it, b what was used of the one before
//	ARGV  its length in milliseconds, the cost, the limit, 1 to count the cost whatever the limit says
//	gives 1 when admitted, what remains, the milliseconds until the reset
const slideSource = `
local size, cost, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local id, left = math.floor(now / size), size - now % size
local kept = redis.call('HMGET', KEYS[1], 'w', 'u', 'b')
local w, used, before = tonumber(kept[1]), tonumber(kept[2]), tonumber(kept[3])
if w == nil or id > w + 1 then
	w, used, before = id, 0, 0
elseif id == w + 1 then
	w, used, before = id, 0, used
elseif id < w then
	left = size
end
local overlap = math.min(before, limit) * left / size
if ARGV[4] ~= '1' then
	if used >= limit then
		return {0, 0, left}
	end
	if overlap + used >= limit then
		return {0, 0, math.ceil(left - (limit - used) * size / math.min(before, limit))}
	end
end
used = used + cost
redis.call('HSET', KEYS[1], 'w', w, 'u', used, 'b', before)
redis.call('PEXPIRE', KEYS[1], size + left)
return {1, math.max(0, math.floor(limit - used - overlap)), left}
`

var slideScript = limit.NewScript(slideSource)

// slideKey keeps windows of different lengths apart.
func slideKey(key string, q quota) string {
	return key + "." + strconv.FormatInt(q.window/int64(time.Second), 10)
}

func slideArgs(q quota, always bool) []any {
	force := 0
	if always {
		force = 1
	}
	return []any{q.window / int64(time.Millisecond), q.cost, q.limit, force}
}

func slideAnswer(answer []int64, err error) (state, error) {
	if err != nil {
		return state{}, err
	}
	if len(answer) != 3 {
		return state{}, errAnswer
	}
	return state{admitted: answer[0] == 1, remaining: answer[1], reset: answer[2] * int64(time.Millisecond)}, nil
}
