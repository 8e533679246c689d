/* The firewall's µCube 1: finds the connection that a packet belongs to, and works out what it becomes.
 *
 * What the rules have a say in is written by the last µCube, once the packet is accepted; a packet of an established connection that
 * passes without them is done with here. A connection whose time is over is none.
 *
 * TCP is followed by its flags and windows as Linux does (lib/conntrack.h); other protocols by whether both ends were heard of. A packet
 * of TCP that belongs to nothing and begins nothing is INVALID, as are flags that do not go together, and an ICMP error about nothing
 * that is known or for somebody else. So is what would change something and has a wrong checksum: the last µCube sees to that.
 */
#include "firewall.h"
#include "lib/addr.h"
#include "lib/tcp_proceed.h"

#define CONNECTION_TICK (1 << 20) /* nanoseconds */
#define STREAM_TICKS 1907         /* two seconds: what is used for longer is no question and its answer */
#define QUOTED_EXTENSIONS 4 /* of IPv6, in what an error quotes */
#define ICMP_QUOTE 8 /* bytes before the packet that an ICMP error is about */

/* Before anything is heard from the other end all is NEW. */
static __always_inline u8 state_of(u32 direction, u8 seen_before) {
  return direction || seen_before & SEEN_REPLY ? STATE_ESTABLISHED : STATE_NEW;
}

static __always_inline u8 follow_other(struct packet *packet, const struct connection *known, u32 sender, u64 now) {
  struct connection *next = &packet->next;
  bool is_icmp = packet->proto == IPPROTO_ICMP || packet->proto == IPPROTO_ICMPV6;
  if (known) {
    connection_copy(next, known);
  } else {
    __builtin_memset(next, 0, sizeof(*next));
    next->opener = sender;
    next->mark = now / CONNECTION_TICK;
  }
  u32 direction = next->opener != sender;
  u8 seen_before = next->seen;
  bool answered = direction || seen_before & SEEN_REPLY;
  if (seen_before & SEEN_REPLY && !is_icmp && (u32)(now / CONNECTION_TICK) - next->mark > STREAM_TICKS)
    next->seen |= SEEN_ASSURED;
  next->seen |= direction ? SEEN_REPLY : 0;
  next->state = answered ? ANSWERED : OPENING;
  connection_keep(next, now, (answered && !is_icmp ? 180 : 30) * CONNECTION_SECOND);
  packet->settles = !!(next->seen & SEEN_ASSURED);
  return state_of(direction, seen_before);
}

/* Questions are talk like any other; an answer to nothing is none. Other messages begin nothing: IPv6's neighbour discovery and group
 * membership, which belong to the link, are NEW, and what is left is INVALID. */
static __always_inline u8 follow_icmp(struct packet *packet, const struct connection *known, u32 sender, u64 now) {
  u8 type = packet->icmp_type;
  if (packet->later_fragment)
    return known ? follow_other(packet, known, sender, now) : STATE_INVALID;
  if (!icmp_question(type, packet->family))
    return packet->family == 6 && ((type >= 130 && type <= 137) || (type >= 141 && type <= 143) || (type >= 148 && type <= 153))
               ? STATE_NEW
               : STATE_INVALID;
  if (!known && !is_question(type, packet->family))
    return STATE_INVALID;
  return follow_other(packet, known, sender, now);
}

/* Steps over what stands between a quoted IPv6 header and what it carries; gives what that is. Loop bound: QUOTED_EXTENSIONS. */
static __always_inline bool skip_quoted(struct CTXTYPE *ctx, u32 *offset, u8 *proto) {
  for (int i = 0; i < QUOTED_EXTENSIONS; i++) {
    u8 head[8];
    if (*proto != IPPROTO_HOPOPTS && *proto != IPPROTO_ROUTING && *proto != IPPROTO_DSTOPTS && *proto != IPPROTO_FRAGMENT)
      return true;
    if (pcn_load_bytes(ctx, *offset, head, sizeof(head)) < 0 || (*proto == IPPROTO_FRAGMENT && (head[2] | (head[3] & 0xf8))))
      return false; /* of a later fragment nobody knows the ports */
    *offset += *proto == IPPROTO_FRAGMENT ? 8 : 8 + head[1] * 8;
    *proto = head[0];
  }
  return true;
}

/* The packet that an error quotes went the other way, so it was sent by whom the error is for: its key is the connection's all the
 * same. An error for anybody else is about nothing. */
static __always_inline u8 follow_error(struct CTXTYPE *ctx, struct packet *packet, u64 now) {
  struct connection_key *key = &packet->connection;
  u32 src[4], dst[4], offset = packet->l4 + ICMP_QUOTE, ports = 0;
  u8 proto, echo;
  u16 said[4];
  if (packet->family == 4) {
    struct iphdr ip;
    if (pcn_load_bytes(ctx, offset, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5 || ip.frag_off & htons(0x1fff))
      return STATE_INVALID;
    v4_mapped(src, ip.saddr);
    v4_mapped(dst, ip.daddr);
    proto = ip.protocol;
    offset += ip.ihl * 4;
    echo = IPPROTO_ICMP;
  } else {
    struct ipv6hdr ip;
    if (pcn_load_bytes(ctx, offset, &ip, sizeof(ip)) < 0 || ip.version != 6)
      return STATE_INVALID;
    __builtin_memcpy(src, &ip.saddr, 16);
    __builtin_memcpy(dst, &ip.daddr, 16);
    proto = ip.nexthdr;
    offset += sizeof(ip);
    echo = 58;
    if (!skip_quoted(ctx, &offset, &proto))
      return STATE_INVALID;
  }
  if (proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == echo) {
    if (offset + 8 > packet->payload_end || pcn_load_bytes(ctx, offset, said, 8) < 0)
      return STATE_INVALID;
    ports = proto == echo ? icmp_ports(ntohs(said[0]) >> 8, packet->family, ntohs(said[2]))
                          : (u32)ntohs(said[0]) << 16 | ntohs(said[1]);
  }
  if (!same_address(src, packet->dst) || offset > packet->payload_end)
    return STATE_INVALID;
  connection_key(key, src, dst, ports, proto);
  return find_connection(packet, key, now) ? STATE_RELATED : STATE_INVALID;
}

/* TCP: true if the packet is dealt with, as most are. What a connection's later fragments say of it, nobody knows. */
static __always_inline bool proceed(struct CTXTYPE *ctx, struct packet *packet, struct connection *known, u64 now) {
  u8 flags = packet->flags & (FIN | SYN | RST | ACK | URG);
  if (known->state != TCP_ESTABLISHED || known->seen != (SEEN_REPLY | SEEN_ASSURED) || flags != ACK || packet->fragment || !packet->settled ||
      !(packet->mode & MODE_ACCEPT_ESTABLISHED))
    return false;
  const struct tcp_head *head = tcp_plain_head(ctx, packet->l4);
  return head && tcp_proceed(known, head, packet->payload_end - packet->l4, known->opener != packet->sender, now);
}

static __always_inline int accept_established(struct packet *packet) {
  count_decided(DECIDER_ESTABLISHED, packet->length);
  return RX_OK;
}

/* What comes of other protocols, and of errors: the rules are asked about it, or the last µCube writes what is new. */
static __always_inline int go_on(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet, struct connection *known) {
  packet->news = says_news(packet);
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
