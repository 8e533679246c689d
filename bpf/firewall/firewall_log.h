/* What a LOG rule writes: one line, in the words of nftables. */
#include "lib/ratelimit.h"

#define LOGS_A_SECOND 100 /* on each CPU, for the cube as a whole */

struct logging_rule {
  u32 id;
  u8 prefix[28];
};
BPF_F_TABLE("hash", u64, struct logging_rule, logging_rules, 16384, BPF_F_NO_PREALLOC);
BPF_TABLE("percpu_array", u32, struct ratelimit, logged, 1);

#if PCN_EGRESS
#define WITH_PORTS pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T SPT=%u DPT=%u")
#define OF_ICMP pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T TYPE=%u CODE=%u")
#define OF_OTHERS pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T")
#else
#define WITH_PORTS pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T SPT=%u DPT=%u")
#define OF_ICMP pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T TYPE=%u CODE=%u")
#define OF_OTHERS pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T")
#endif

static __always_inline bool may_log(void) {
  u32 zero = 0;
  struct ratelimit *limit = logged.lookup(&zero);
  return limit && ratelimit_take(limit, LOGS_A_SECOND);
}

static __always_inline void write_log(struct CTXTYPE *ctx, const struct packet *packet) {
  struct logging_rule *rule = logging_rules.lookup(&packet->rule);
  if (!rule || !may_log())
    return;
  u32 format = !packet->has_ports ? OF_OTHERS : is_icmp(&packet->parsed) ? OF_ICMP : WITH_PORTS;
  struct pcn_long_log_record *record = pcn_log_open(ctx, LOG_INFO, format);
  if (!record)
    return;
  __builtin_memcpy(record->args, rule->prefix, sizeof(rule->prefix));
  ((u32 *)record->args)[7] = 0;
  record->args[4] = rule->id;
  record->args[5] = packet->device;
  __builtin_memcpy(&record->args[6], packet->src, 16);
  __builtin_memcpy(&record->args[8], packet->dst, 16);
  record->args[10] = packet->payload_end - packet->l3;
  record->args[11] = packet->proto | (u64)packet->family << 8;
  record->args[12] = packet->ports >> 16;
  record->args[13] = packet->ports & 0xffff;
  pcn_log_close(record);
}
