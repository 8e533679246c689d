/* Limits of rules: how often one may match. Those that say more than so many a second have a row of their own. */
#include "lib/ratelimit.h"

#define LIMIT_ELSEWHERE 0xffffffff /* `limit` of a rule that has such a row */

struct rule_limit {
  u64 cost;  /* nanoseconds from one match to the next */
  u64 burst; /* so many nanoseconds may be saved up */
  u32 by_source;
  u32 over; /* it matches what is beyond */
};
struct source_key {
  u32 address[4];
  u64 rule;
};
BPF_F_TABLE("hash", u64, struct rule_limit, limits, 16384, BPF_F_NO_PREALLOC);
BPF_TABLE("lru_hash", u64, struct ratelimit, allowances, 4096); /* by rule; `since` of those with a row is what is spent */
BPF_TABLE("lru_hash", struct source_key, u64, source_allowances, 16384);

static __always_inline bool within_second(u64 rule, u32 limit) {
  struct ratelimit *known = allowances.lookup(&rule);
  if (known)
    return ratelimit_take(known, limit);
  struct ratelimit first = {bpf_ktime_get_ns(), 1};
  allowances.update(&rule, &first);
  return true;
}

static __always_inline bool within_tokens(const struct packet *packet, u64 rule, const struct rule_limit *limit) {
  u64 now = bpf_ktime_get_ns();
  u64 first = now + limit->cost;
  if (limit->by_source) {
    struct source_key key = {.rule = rule};
    __builtin_memcpy(key.address, packet->src, sizeof(key.address));
    u64 *spent = source_allowances.lookup(&key);
    if (spent)
      return tokens_take(spent, now, limit->cost, limit->burst);
    source_allowances.update(&key, &first);
    return true;
  }
  struct ratelimit *known = allowances.lookup(&rule);
  if (known)
    return tokens_take(&known->since, now, limit->cost, limit->burst);
  struct ratelimit fresh = {first, 0};
  allowances.update(&rule, &fresh);
  return true;
}

/* Whether a rule with a limit may match once more; or, if it asks for what is beyond its limit, now. */
static __always_inline bool within(const struct packet *packet, u64 rule, u32 per_second) {
  if (per_second != LIMIT_ELSEWHERE)
    return within_second(rule, per_second);
  struct rule_limit *limit = limits.lookup(&rule);
  return limit && within_tokens(packet, rule, limit) != limit->over;
}
