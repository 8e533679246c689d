/* What a LOG rule writes: one line, in the words of nftables. */
#include "lib/rule_log.h"

struct logging_rule {
  u32 id;
  u8 prefix[28];
};
BPF_F_TABLE("hash", u64, struct logging_rule, logging_rules, 16384, BPF_F_NO_PREALLOC);

#if PCN_EGRESS
#define WITH_PORTS pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T SPT=%u DPT=%u")
#define OF_ICMP pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T TYPE=%u CODE=%u")
#define OF_OTHERS pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T")
#else
#define WITH_PORTS pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T SPT=%u DPT=%u")
#define OF_ICMP pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T TYPE=%u CODE=%u")
#define OF_OTHERS pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T")
#endif

static __always_inline void write_log(struct CTXTYPE *ctx, const struct packet *packet, u64 number) {
  struct logging_rule *rule = logging_rules.lookup(&number);
  if (!rule || !may_log())
    return;
  struct pcn_long_log_record *record = pcn_log_open(ctx, LOG_INFO, log_kind(packet, WITH_PORTS, OF_ICMP, OF_OTHERS));
  if (!record)
    return;
  __builtin_memcpy(record->args, rule->prefix, sizeof(rule->prefix));
  ((u32 *)record->args)[7] = 0;
  record->args[4] = rule->id;
  record->args[5] = packet->device;
  log_ends(record, packet);
  pcn_log_close(record);
}
