/* The lines of rules that log, in the words of nftables and iptables, for a `struct packet` with lib/parse.h's fields.
 *
 *     may_log()                              whether the cube may write one more line now
 *     log_kind(packet, WITH_PORTS, …)        the format for this packet, of three
 *     log_ends(record, packet)               fills args[6] to args[13]: SRC, DST, LEN, PROTO, and ports or type and code; what is before them,
 *                                            a text of four arguments and two more, is the includer's
 */
#ifndef PCN_LIB_RULE_LOG_H
#define PCN_LIB_RULE_LOG_H
#include "lib/ratelimit.h"

#define LOGS_A_SECOND 100 /* on each CPU, for the cube as a whole */

BPF_TABLE("percpu_array", u32, struct ratelimit, logged, 1);

static __always_inline bool may_log(void) {
  u32 zero = 0;
  struct ratelimit *limit = logged.lookup(&zero);
  return limit && ratelimit_take(limit, LOGS_A_SECOND);
}

static __always_inline u32 log_kind(const struct packet *packet, u32 with_ports, u32 of_icmp, u32 of_others) {
  return !packet->has_ports ? of_others : is_icmp(&packet->parsed) ? of_icmp : with_ports;
}

static __always_inline void log_ends(struct pcn_long_log_record *record, const struct packet *packet) {
  __builtin_memcpy(&record->args[6], packet->src, 16);
  __builtin_memcpy(&record->args[8], packet->dst, 16);
  record->args[10] = packet->payload_end - packet->l3;
  record->args[11] = packet->proto | (u64)packet->family << 8;
  record->args[12] = packet->ports >> 16;
  record->args[13] = packet->ports & 0xffff;
}
#endif
