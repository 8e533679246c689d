/* The firewall's µCube 1: finds the connection that a packet belongs to, and works out what it becomes.
 *
 * What the rules have a say in is written by the last µCube, once the packet is accepted; a packet of an established connection that
 * passes without them is done with here. A connection whose time is over is none.
 *
 * TCP is followed by its flags and windows as Linux does (lib/conntrack.h); other protocols by whether both ends were heard of. A packet
 * of TCP that belongs to nothing and begins nothing is INVALID, as are flags that do not go together, and an ICMP error about nothing
 * that is known or for somebody else. So is what would change something and has a wrong checksum: the last µCube sees to that.
 */
#include "firewall_rematch.h"
#include "lib/addr.h"
#include "lib/tcp_proceed.h"

/* TCP: true if the packet is dealt with, as most are. What a connection's later fragments say of it, nobody knows. */
static __always_inline bool proceed(struct CTXTYPE *ctx, struct packet *packet, struct connection *known, u64 now) {
  u8 flags = packet->flags & (FIN | SYN | RST | ACK | URG);
  if (known->state != TCP_ESTABLISHED || known->seen != (SEEN_REPLY | SEEN_ASSURED) || flags != ACK || packet->fragment || !packet->settled ||
      packet->outdated || !(packet->mode & MODE_ACCEPT_ESTABLISHED))
    return false;
  const struct tcp_head *head = tcp_plain_head(ctx, packet->l4);
  return head && tcp_proceed(known, head, packet->payload_end - packet->l4, known->opener != packet->sender, now);
}

static __always_inline int accept_established(struct packet *packet) {
  count_decided(DECIDER_ESTABLISHED, 0, packet->length);
  return RX_OK;
}

/* What comes of other protocols, and of errors: the rules are asked about it, or the last µCube writes what is new. */
static __always_inline int go_on(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, struct connection *known) {
  packet->news = says_news(packet);
  if (is_outdated(packet) && !rematch(packet))
    return RX_DROP;
  if (packet->state != STATE_ESTABLISHED || !(packet->mode & MODE_ACCEPT_ESTABLISHED))
    return classify(ctx, md, packet);
  if (packet->news || !known || packet->settles != packet->settled)
    return tail_call_next(ctx, FIREWALL_VERDICT);
  if (packet->next.state != CONNECTION_NONE)
    connection_store(known, &packet->next);
  return accept_established(packet);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  u64 now = bpf_ktime_get_coarse_ns();
  if (!packet)
    return RX_DROP;
  if (is_error(packet)) {
    packet->state = follow_error(ctx, packet, now);
    return go_on(ctx, md, packet, NULL);
  }
  u32 sender = connection_key(&packet->connection, packet->src, packet->dst, packet->talk, packet->proto);
  struct connection *known = find_connection(packet, &packet->connection, now);
  packet->sender = sender;
  if (known && packet->mode & MODE_REMATCH)
    known = find_accepted(packet, known);
  packet->was = known ? known->state : CONNECTION_NONE;
  if (packet->has_flags) {
    if (known && proceed(ctx, packet, known, now))
      return accept_established(packet);
    if (known)
      connection_copy(&packet->next, known);
    return tail_call_next(ctx, FIREWALL_TCP);
  }
  if (packet->proto == IPPROTO_TCP) /* a later fragment */
    packet->state = known ? STATE_ESTABLISHED : STATE_INVALID;
  else if (is_icmp(&packet->parsed))
    packet->state = follow_icmp(packet, known, sender, now);
  else
    packet->state = follow_other(packet, known, sender, now);
  return go_on(ctx, md, packet, known);
}
