/* The connection that a packet belongs to, and what the packet makes of it: lib/conntrack.h for the packet at hand.
 *
 * TCP is followed by its flags and windows as Linux does (lib/follow_tcp.h); other protocols by whether both ends were heard of. A packet
 * of TCP that belongs to nothing and begins nothing is INVALID, as are flags that do not go together, and an ICMP error about nothing
 * that is known or for somebody else.
 *
 * The includer has a struct packet, with PARSED of lib/parse.h in it and
 *     u32 talk                   `ports` of its connection; of an ICMP question see icmp_ports
 *     u8 state                   enum state
 *     u8 settled, settles        its connection is, or becomes if the packet is accepted, a settled one
 *     u8 was                     enum connection_state of the connection that is known, or none
 *     u8 sender                  which end of the key sent the packet: 1 the high one
 *     struct connection next     what the connection becomes if the packet is accepted; no state: nothing
 *     struct connection_key connection
 *     struct tcp_segment segment
 * and may say in FOLLOW_RELATES(packet, known) whether an error about what is known belongs to it.
 */
#ifndef PCN_LIB_FOLLOW_H
#define PCN_LIB_FOLLOW_H
#include "lib/addr.h"
#include "lib/conntrack.h"
#include "lib/tcp_segment.h"

enum state { STATE_NEW = 1, STATE_ESTABLISHED = 2, STATE_RELATED = 4, STATE_INVALID = 8 }; /* 0: not tracked */

/* A connection is settled once it is assured and not over (lib/conntrack.h). Those that are not are in `openings`, so that a flood of
 * beginnings, or of connections that are over, cannot push out those that work. */
BPF_TABLE("lru_hash", struct connection_key, struct connection, connections, 65536); /* of TCP */
BPF_TABLE("lru_hash", struct connection_key, struct connection, streams, 32768);     /* of other protocols */
BPF_TABLE("lru_hash", struct connection_key, struct connection, openings, 32768);

#ifndef FOLLOW_RELATES
#define FOLLOW_RELATES(packet, known) ((known) != NULL)
#endif
#define CONNECTION_TICK (1 << 20) /* nanoseconds */
#define STREAM_TICKS 1907         /* two seconds: what is used for longer is no question and its answer */
#define QUOTED_EXTENSIONS 4 /* of IPv6, in what an error quotes */
#define ICMP_QUOTE 8 /* bytes before the packet that an ICMP error is about */

/* The ICMP type that asks, of a question or an answer: echo, and IPv4's timestamp, information and mask, IPv6's node information. 0: it
 * is neither. */
static __always_inline u32 icmp_question(u8 type, u32 family) {
  if (family == 4)
    return type == 8 || type == 0 ? 8 : type >= 13 && type <= 18 ? (type - 1) | 1 : 0;
  return type == 128 || type == 129 ? 128 : type == 139 || type == 140 ? 139 : 0;
}

static __always_inline bool is_question(u8 type, u32 family) {
  return family == 4 ? type == 8 || type == 13 || type == 15 || type == 17 : type == 128 || type == 139;
}

/* A question's identifier as the port of who asks, and of who answers what is asked: 0 for an echo. 0 for other messages, and an
 * identifier of 0 is 1 here. */
static __always_inline u32 icmp_ports(u8 type, u32 family, u16 identifier) {
  u32 question = icmp_question(type, family), said = identifier ? identifier : 1;
  u32 kind = question == 8 || question == 128 ? 0 : question;
  if (!question)
    return 0;
  return is_question(type, family) ? said << 16 | kind : kind << 16 | said;
}

static __always_inline struct connection *find_connection(struct packet *packet, const struct connection_key *key, u64 now) {
  struct connection *known;
  if (key->proto == IPPROTO_TCP)
    known = connections.lookup(key);
  else
    known = streams.lookup(key);
  packet->settled = 1;
  if (known && known->expires > now)
    return known;
  packet->settled = 0;
  known = openings.lookup(key);
  if (known && known->expires > now)
    return known;
  if (key->proto == IPPROTO_TCP)
    return NULL;
  known = connections.lookup(key); /* of what was learned before there were `streams` */
  packet->settled = 1;
  if (known && known->expires > now)
    return known;
  packet->settled = 0;
  return NULL;
}

static __always_inline bool is_error(const struct packet *packet) {
  u8 type = packet->icmp_type;
  if (packet->later_fragment)
    return false;
  if (packet->family == 4)
    return packet->proto == IPPROTO_ICMP && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
  return packet->proto == 58 && type < 128;
}

/* Whether its checksum matters: what leaves a connection in its state, is taken at its word. */
static __always_inline bool says_news(const struct packet *packet) {
  if (packet->state == STATE_INVALID)
    return false;
  if (packet->next.state == CONNECTION_NONE)
    return packet->icmp_type || packet->state == STATE_RELATED; /* IPv4's echo reply, type 0, has a next state or is invalid */
  if (packet->has_flags && packet->flags & (SYN | FIN | RST))
    return true;
  return packet->was != packet->next.state || packet->settles != packet->settled;
}

/* Where it is known, what has changed is written; else it takes its place, and leaves the one it had. */
static __always_inline void keep_connection(struct packet *packet) {
  struct connection_key *key = &packet->connection;
  u8 settles = packet->settles;
  if (packet->next.state == CONNECTION_NONE)
    return;
  struct connection *known = find_connection(packet, key, bpf_ktime_get_coarse_ns());
  if (known && packet->settled == settles) {
    connection_store(known, &packet->next);
    return;
  }
  if (!settles)
    openings.update(key, &packet->next);
  else if (packet->proto == IPPROTO_TCP)
    connections.update(key, &packet->next);
  else
    streams.update(key, &packet->next);
  if (settles)
    openings.delete(key);
  else if (known)
    connections.delete(key);
  if (!settles && known && packet->proto != IPPROTO_TCP)
    streams.delete(key);
}

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
  packet->sender = !connection_key(key, src, dst, ports, proto);
  return FOLLOW_RELATES(packet, find_connection(packet, key, now)) ? STATE_RELATED : STATE_INVALID;
}
#endif
