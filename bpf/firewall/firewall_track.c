/* The firewall's µCube 1: finds the connection that a packet belongs to, and works out what it becomes.
 *
 * A packet that no rule needs to see, and that changes nothing but when its connection ends, is accepted here: that is most packets.
 * Anything else is written by the last µCube, once the packet is accepted. A connection whose time is over is none.
 *
 * TCP is followed by its flags, without sequence numbers; other protocols by whether both ends were heard of. A packet of TCP
 * that belongs to nothing and is no SYN is INVALID, as are flags that do not go together, and an ICMP error about nothing that is
 * known or for somebody else. So is what would change something and has a wrong checksum: the last µCube sees to that.
 */
#include "firewall.h"
#include "lib/addr.h"

#define SECONDS 1000000000ULL
#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16
#define URG 32
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

/* Which flags a segment may have together, as in the kernel's nf_conntrack_proto_tcp.c; PSH, ECE and CWR go with all. */
#define FLAGS(flags) (((flags) & (FIN | SYN | RST)) | ((flags) & (ACK | URG)) >> 1) /* below 32 */
#define MAY_BE(flags) (1U << FLAGS(flags))
#define VALID (MAY_BE(SYN) | MAY_BE(SYN | URG) | MAY_BE(SYN | ACK) | MAY_BE(RST) | MAY_BE(RST | ACK) | MAY_BE(FIN | ACK) | \
               MAY_BE(FIN | ACK | URG) | MAY_BE(ACK) | MAY_BE(ACK | URG))

/* A SYN of the end that began, or the other's SYN and ACK. Within a connection both only repeat what was said. */
static __always_inline u8 follow_syn(struct packet *packet, u32 state, bool opener, bool answers) {
  if (state == SYN_SENT && answers && !opener)
    return become(packet, STATE_ESTABLISHED, SYN_RECEIVED);
  return opener != answers || (opener && state == SYN_RECEIVED) ? STATE_ESTABLISHED : STATE_INVALID;
}

static __always_inline u8 follow_tcp(struct packet *packet, struct connection *known, u32 sender) {
  u8 flags = packet->flags & (SYN | ACK | RST | FIN);
  if (!packet->has_flags) /* a later fragment */
    return known ? STATE_ESTABLISHED : STATE_INVALID;
  if (!(VALID >> FLAGS(packet->flags) & 1))
    return STATE_INVALID;
  u32 state = known ? known->state : CONNECTION_NONE;
  bool opener = known && known->opener == sender;
  if (flags == SYN && (!known || state == TIME_WAIT || (state == SYN_SENT && opener))) {
    packet->next.opener = sender;
    return become(packet, STATE_NEW, SYN_SENT);
  }
  if (!known)
    return STATE_INVALID;
  packet->next.opener = known->opener;
  if (flags & RST && state == SYN_SENT && opener) /* it has nothing to acknowledge */
    return flags & ACK ? STATE_INVALID : become(packet, STATE_NEW, TIME_WAIT);
  if (flags & RST)
    return become(packet, STATE_ESTABLISHED, TIME_WAIT);
  if (flags & SYN)
    return follow_syn(packet, state, opener, flags & ACK);
  switch (state) { /* an ACK, or a FIN with one */
  case SYN_SENT:
    return opener || flags & FIN ? STATE_INVALID : STATE_ESTABLISHED; /* a challenge, by an end that knows an older connection */
  case SYN_RECEIVED:
    if (flags & FIN)
      return become(packet, STATE_ESTABLISHED, FIN_WAIT);
    packet->settles = opener;
    return become(packet, STATE_ESTABLISHED, opener ? TCP_ESTABLISHED : SYN_RECEIVED);
  case TCP_ESTABLISHED:
    return become(packet, STATE_ESTABLISHED, flags & FIN ? FIN_WAIT : TCP_ESTABLISHED);
  case FIN_WAIT:
    return become(packet, STATE_ESTABLISHED, flags & FIN ? LAST_ACK : FIN_WAIT);
  case LAST_ACK:
    return become(packet, STATE_ESTABLISHED, flags & FIN ? LAST_ACK : TIME_WAIT);
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

/* The packet that an error quotes went the other way, so it was sent by whom the error is for: its key is the connection's all the
 * same. An error for anybody else is about nothing. */
static __always_inline u8 follow_error(struct CTXTYPE *ctx, struct packet *packet) {
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
  }
  if (proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == echo) {
    if (offset + 8 > packet->payload_end || pcn_load_bytes(ctx, offset, said, 8) < 0)
      return STATE_INVALID;
    ports = proto == echo ? echo_ports(ntohs(said[0]) >> 8, packet->family, ntohs(said[2]))
                          : (u32)ntohs(said[0]) << 16 | ntohs(said[1]);
  }
  if (!same_address(src, packet->dst) || offset > packet->payload_end)
    return STATE_INVALID;
  key_of(key, src, dst, ports, proto);
  return find(packet, key) ? STATE_RELATED : STATE_INVALID;
}

/* Whether its checksum matters: what leaves a connection as it is, is taken at its word. */
static __always_inline bool says_news(const struct packet *packet, const struct connection *known) {
  if (packet->state == STATE_INVALID)
    return false;
  if (packet->next.state == CONNECTION_NONE)
    return packet->icmp_type || packet->state == STATE_RELATED; /* IPv4's echo reply, type 0, has a next state or is invalid */
  return !known || known->state != packet->next.state || (packet->settles && !packet->settled);
}

/* Gives the connection that is known. */
static __always_inline struct connection *follow(struct packet *packet) {
  u32 sender = key_of(&packet->connection, packet->src, packet->dst, packet->talk, packet->proto);
  struct connection *known = find(packet, &packet->connection);
  if (packet->proto == IPPROTO_TCP)
    packet->state = follow_tcp(packet, known, sender);
  else if (packet->proto == (packet->family == 4 ? IPPROTO_ICMP : 58))
    packet->state = follow_icmp(packet, known, sender);
  else
    packet->state = follow_other(packet, known, sender);
  return known;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  struct connection *known = NULL;
  if (!packet)
    return RX_DROP;
  if (is_error(packet))
    packet->state = follow_error(ctx, packet);
  else
    known = follow(packet);
  packet->news = says_news(packet, known);
  if (packet->state != STATE_ESTABLISHED || !(packet->mode & MODE_ACCEPT_ESTABLISHED))
    return classify(ctx, md, packet);
  if (packet->news)
    return tail_call_next(ctx, FIREWALL_VERDICT);
  if (known && packet->next.state != CONNECTION_NONE)
    known->expires = packet->next.expires;
  count_decided(DECIDER_ESTABLISHED, packet->length);
  return RX_OK;
}
