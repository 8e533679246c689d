/* What only some rules have: a limit (how often they may match), and what LOG writes: one line, in the words of iptables. */
#ifndef PCN_IPTABLES_DETAILS_H
#define PCN_IPTABLES_DETAILS_H
#include "lib/ratelimit.h"
#include "lib/rule_log.h"

struct rule_details {
  u64 written;     /* the rule that has the allowance, wherever it is laid out */
  u64 cost, burst; /* nanoseconds from one match to the next, and how many may be saved up */
  u8 prefix[32];   /* what a LOG's line begins with, ended by a zero */
};
BPF_F_TABLE("hash", u64, struct rule_details, details, 131072, BPF_F_NO_PREALLOC); /* by the rule at its place */
BPF_TABLE("lru_hash", u64, u64, allowances, 16384);                              /* the time up to which a rule has spent */

/* Whether a rule with a limit may match once more. */
static __always_inline bool within(u64 number) {
  u64 now = bpf_ktime_get_ns();
  struct rule_details *rule = details.lookup(&number);
  if (!rule)
    return false;
  u64 written = rule->written, first = now + rule->cost;
  u64 *spent = allowances.lookup(&written);
  if (spent)
    return tokens_take(spent, now, rule->cost, rule->burst);
  allowances.update(&written, &first);
  return true;
}

#define WITH_PORTS pcn_log_format("%SIN=%N OUT=%N SRC=%A DST=%A LEN=%u PROTO=%T SPT=%u DPT=%u")
#define OF_ICMP pcn_log_format("%SIN=%N OUT=%N SRC=%A DST=%A LEN=%u PROTO=%T TYPE=%u CODE=%u")
#define OF_OTHERS pcn_log_format("%SIN=%N OUT=%N SRC=%A DST=%A LEN=%u PROTO=%T")

static __always_inline void write_log(struct CTXTYPE *ctx, const struct packet *packet, u64 number) {
  struct rule_details *rule = details.lookup(&number);
  if (!rule || !may_log())
    return;
  struct pcn_long_log_record *record = pcn_log_open(ctx, LOG_INFO, log_kind(packet, WITH_PORTS, OF_ICMP, OF_OTHERS));
  if (!record)
    return;
  __builtin_memcpy(record->args, rule->prefix, sizeof(rule->prefix));
  record->args[4] = packet->in;
  record->args[5] = packet->out;
  log_ends(record, packet);
  pcn_log_close(record);
}
#endif
