/* The firewall's µCube 1: finds the connection that a packet belongs to, and works out what it becomes.
 *
 * Nothing is written here: the last µCube does, once the packet is accepted. A connection whose time is over is none.
 *
 * TCP is followed by its flags, without sequence numbers; other protocols by whether both ends were heard of. A packet of TCP
 * that belongs to nothing and is no SYN is INVALID, as is an ICMP error about nothing that is known.
 */
#include "firewall.h"

#define SECONDS 1000000000ULL
#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16
#define ICMP_QUOTE 8 /* bytes before the packet that an ICMP error is about */

static __always_inline u64 lifetime_of(u32 state, u8 proto) {
  switch (state) {
  case SYN_SENT: return 120 * SECONDS;
  case SYN_RECEIVED: return 60 * SECONDS;
  case TCP_ESTABLISHED: return 432000 * SECONDS;
  case FIN_WAIT: return 120 * SECONDS;
  case LAST_ACK: return 30 * SECONDS;
  case TIME_WAIT: return 120 * SECONDS;
  case ANSWERED: return proto == IPPROTO_ICMP || proto == 58 ? 30 * SECONDS : 180 * SECONDS;
  default: return 30 * SECONDS;
  }
}

/* The key of what `src` and `dst` say to each other; gives 1 if the source is the high end. */
static __always_inline u32 key_of(struct connection_key *key, const u32 *src, const u32 *dst, u32 ports, u8 proto) {
  u32 high = 0;
  u16 sport = ports >> 16, dport = ports;
  if (src[0] != dst[0])
    high = src[0] > dst[0];
  else if (src[1] != dst[1])
    high = src[1] > dst[1];
  else if (src[2] != dst[2])
    high = src[2] > dst[2];
  else if (src[3] != dst[3])
    high = src[3] > dst[3];
  else
    high = sport > dport;
  __builtin_memcpy(high ? key->high : key->low, src, 16);
  __builtin_memcpy(high ? key->low : key->high, dst, 16);
  key->low_port = high ? dport : sport;
  key->high_port = high ? sport : dport;
  key->proto = proto;
  key->zero[0] = key->zero[1] = key->zero[2] = 0;
  return high;
}

static __always_inline struct connection *find(struct packet *packet, struct connection_key *key) {
  u64 now = bpf_ktime_get_coarse_ns();
  struct connection *known = connections.lookup(key);
  if (known && known->expires > now) {
    packet->settled = 1;
    return known;
  }
  known = openings.lookup(key);
  return known && known->expires > now ? known : NULL;
}

/* The packet's state, and what its connection becomes. */
static __always_inline u8 become(struct packet *packet, u8 label, u32 state) {
  packet->next.state = state;
  packet->next.expires = bpf_ktime_get_coarse_ns() + lifetime_of(state, packet->proto);
  return label;
}

static __always_inline u8 follow_tcp(struct packet *packet, struct connection *known, u32 sender) {
  u8 flags = packet->flags & (SYN | ACK | RST | FIN);
  if (!packet->has_flags) /* a later fragment */
    return known ? STATE_ESTABLISHED : STATE_INVALID;
  u32 state = known ? known->state : CONNECTION_NONE;
  bool opener = known && known->opener == sender;
  if (flags == SYN && (!known || state == TIME_WAIT || (state == SYN_SENT && opener))) {
    packet->next.opener = sender;
    return become(packet, STATE_NEW, SYN_SENT);
  }
  if (!known)
    return STATE_INVALID;
  packet->next.opener = known->opener;
  if (flags & RST)
    return become(packet, STATE_ESTABLISHED, TIME_WAIT);
  switch (state) {
  case SYN_SENT:
    if (!opener && flags == (SYN | ACK))
      return become(packet, STATE_ESTABLISHED, SYN_RECEIVED);
    return STATE_INVALID;
  case SYN_RECEIVED:
    if (flags & FIN)
      return become(packet, STATE_ESTABLISHED, FIN_WAIT);
    if (opener && flags == ACK) {
      packet->settles = 1;
      return become(packet, STATE_ESTABLISHED, TCP_ESTABLISHED);
    }
    return !opener && flags == (SYN | ACK) ? become(packet, STATE_ESTABLISHED, SYN_RECEIVED) : STATE_INVALID;
  case TCP_ESTABLISHED:
    return become(packet, STATE_ESTABLISHED, flags & FIN ? FIN_WAIT : TCP_ESTABLISHED);
  case FIN_WAIT:
    return become(packet, STATE_ESTABLISHED, flags & FIN ? LAST_ACK : FIN_WAIT);
  case LAST_ACK:
    return become(packet, STATE_ESTABLISHED, flags == ACK ? TIME_WAIT : LAST_ACK);
  default:
    return STATE_ESTABLISHED;
  }
}

static __always_inline u8 follow_other(struct packet *packet, struct connection *known, u32 sender) {
  packet->next.opener = known ? known->opener : sender;
  if (!known || (known->state == OPENING && known->opener == sender))
    return become(packet, STATE_NEW, OPENING);
  packet->settles = known->opener == sender;
  return become(packet, STATE_ESTABLISHED, ANSWERED);
}

/* Echoes are talk like any other; an answer to nothing is none. Other messages begin nothing. */
static __always_inline u8 follow_icmp(struct packet *packet, struct connection *known, u32 sender) {
  bool request = packet->icmp_type == (packet->family == 4 ? 8 : 128);
  bool reply = packet->icmp_type == (packet->family == 4 ? 0 : 129);
  if (!request && !reply && !packet->later_fragment)
    return STATE_NEW;
  if (!request && !known)
    return STATE_INVALID;
  return follow_other(packet, known, sender);
}

/* The packet that an error quotes went the other way: its key is the connection's all the same. */
static __always_inline u8 follow_error(struct CTXTYPE *ctx, struct packet *packet) {
  struct connection_key *key = &packet->connection;
  u32 src[4] = {0, 0, htonl(0xffff), 0}, dst[4] = {0, 0, htonl(0xffff), 0}, offset = packet->l4 + ICMP_QUOTE, ports = 0;
  u8 proto, echo;
  u16 said[4];
  if (packet->family == 4) {
    struct iphdr ip;
    if (pcn_load_bytes(ctx, offset, &ip, sizeof(ip)) < 0 || ip.ihl < 5 || ip.frag_off & htons(0x1fff))
      return STATE_INVALID;
    src[3] = ip.saddr;
    dst[3] = ip.daddr;
    proto = ip.protocol;
    offset += ip.ihl * 4;
    echo = IPPROTO_ICMP;
  } else {
    struct ipv6hdr ip;
    if (pcn_load_bytes(ctx, offset, &ip, sizeof(ip)) < 0)
      return STATE_INVALID;
    __builtin_memcpy(src, &ip.saddr, 16);
    __builtin_memcpy(dst, &ip.daddr, 16);
    proto = ip.nexthdr;
    offset += sizeof(ip);
    echo = 58;
  }
  if (proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == echo) {
    if (pcn_load_bytes(ctx, offset, said, 8) < 0)
      return STATE_INVALID;
    ports = proto == echo ? echo_talk(ntohs(said[0]) >> 8, packet->family, ntohs(said[2]))
                          : (u32)ntohs(said[0]) << 16 | ntohs(said[1]);
  }
  key_of(key, src, dst, ports, proto);
  return find(packet, key) ? STATE_RELATED : STATE_INVALID;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = at_hand();
  if (!packet)
    return RX_DROP;
  if (is_error(packet)) {
    packet->state = follow_error(ctx, packet);
    return classify(ctx, md, packet);
  }
  u32 sender = key_of(&packet->connection, packet->src, packet->dst, packet->talk, packet->proto);
  struct connection *known = find(packet, &packet->connection);
  if (packet->proto == IPPROTO_TCP)
    packet->state = follow_tcp(packet, known, sender);
  else if (packet->proto == (packet->family == 4 ? IPPROTO_ICMP : 58))
    packet->state = follow_icmp(packet, known, sender);
  else
    packet->state = follow_other(packet, known, sender);
  if (packet->state == STATE_ESTABLISHED && packet->mode & MODE_ACCEPT_ESTABLISHED)
    return go_on(ctx, FIREWALL_VERDICT);
  return classify(ctx, md, packet);
}
