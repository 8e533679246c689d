/* What a LOG rule writes: one line, in the words of nftables. */
#include "lib/rule_log.h"

struct logging_rule {
  u32 id;
  u8 prefix[28];
};
BPF_F_TABLE("hash", u64, struct logging_rule, logging_rules, 16384, BPF_F_NO_PREALLOC);

/* Of a packet that answers, the line tells of what it answers: the other chain was asked about that (firewall_rematch.h). */
#define IN_WITH_PORTS pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T SPT=%u DPT=%u")
#define OUT_WITH_PORTS pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T SPT=%u DPT=%u")
#define IN_OF_ICMP pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T TYPE=%u CODE=%u")
#define OUT_OF_ICMP pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T TYPE=%u CODE=%u")
#define IN_OF_OTHERS pcn_log_format("%SRULE=%u CHAIN=INGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T")
#define OUT_OF_OTHERS pcn_log_format("%SRULE=%u CHAIN=EGRESS IN=%N SRC=%A DST=%A LEN=%u PROTO=%T")

static __always_inline u32 kind_of_line(const struct packet *packet) {
  return chain_asked(packet->turned) ? log_kind(packet, OUT_WITH_PORTS, OUT_OF_ICMP, OUT_OF_OTHERS)
                                     : log_kind(packet, IN_WITH_PORTS, IN_OF_ICMP, IN_OF_OTHERS);
}

static __always_inline void write_log(struct CTXTYPE *ctx, const struct packet *packet, u64 number) {
  struct logging_rule *rule = logging_rules.lookup(&number);
  if (!rule || !may_log())
    return;
  struct pcn_long_log_record *record = pcn_log_open(ctx, LOG_INFO, kind_of_line(packet));
  if (!record)
    return;
  __builtin_memcpy(record->args, rule->prefix, sizeof(rule->prefix));
  ((u32 *)record->args)[7] = 0;
  record->args[4] = rule->id;
  record->args[5] = packet->device;
  log_ends(record, packet);
  pcn_log_close(record);
}
