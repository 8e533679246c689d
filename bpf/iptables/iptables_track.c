/* The host firewall's µCube 1: finds the connection that a packet belongs to, and works out what it becomes. */
#include "iptables.h"
#include "iptables_followed.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  u64 now = bpf_ktime_get_coarse_ns();
  if (!packet)
    return RX_DROP;
  if (is_error(packet)) {
    packet->state = follow_error(ctx, packet, now);
    return go_on(ctx, md, packet);
  }
  u32 sender = connection_key(&packet->connection, packet->src, packet->dst, packet->talk, packet->proto);
  struct connection *known = find_connection(packet, &packet->connection, now);
  packet->sender = sender;
  packet->was = known ? known->state : CONNECTION_NONE;
  if (packet->has_flags) {
    if (known)
      connection_copy(&packet->next, known);
    return tail_call_next(ctx, IPTABLES_TCP);
  }
  if (packet->proto == IPPROTO_TCP) /* a later fragment */
    packet->state = known ? STATE_ESTABLISHED : STATE_INVALID;
  else if (is_icmp(&packet->parsed))
    packet->state = follow_icmp(packet, known, sender, now);
  else
    packet->state = follow_other(packet, known, sender, now);
  return go_on(ctx, md, packet);
}
