/* A firewall for IPv4 and IPv6: µCube 0, where every frame arrives and its headers are read.
 *
 * What is no IP passes: ARP, and other protocols of the link. Up to two VLAN tags are stepped over; IP behind more is
 * dropped, as is what is cut short or says of itself what cannot be: lengths that do not fit, and an IPv4 header whose checksum is
 * wrong. IP that another protocol carries, which no rule can see, meets the chain's default. Later fragments have the ports (of
 * ICMP, the type and code) of their first one, if that came before them, and else none.
 */
#include "firewall.h"
#include "lib/addr.h"

#define TAGS 2
#define EXTENSIONS 8 /* headers between IPv6 and what it carries */
#define FRAGMENT_TIME (30 * 1000000000ULL)
#define IPPROTO_ICMP6 58
#define IPPROTO_MH 135

struct fragment_key {
  u32 src[4], dst[4];
  u32 id;
  u32 proto;
};
struct fragment {
  u64 seen;
  u32 talk, ports;
};
BPF_TABLE("lru_hash", struct fragment_key, struct fragment, fragments, 8192);

enum { NOT_IP, IS_IP, HIDDEN_IP, MALFORMED };

struct piece {
  u32 fragment; /* 1: this is not all of a packet */
  u32 id;       /* the whole packet's number then */
};

/* Tags that are beside the packet and not in it: under TC the outermost one of what came over a wire. */
static __always_inline u32 tags_beside(struct CTXTYPE *ctx) {
#if PCN_XDP
  return 0;
#else
  return ctx->vlan_present;
#endif
}

/* Under TC the start of a packet need not lie in one piece. */
static __always_inline void pull(struct CTXTYPE *ctx) {
#if !PCN_XDP
  u32 wanted = ctx->len < 94 ? ctx->len : 94; /* Ethernet, two tags, IPv6 or IPv4 with all its options */
  if ((void *)(long)ctx->data + wanted > (void *)(long)ctx->data_end)
    bpf_skb_pull_data(ctx, wanted);
#endif
}

/* Packets of many segments, which the kernel makes of one connection's; what is longer than 64 KiB says a length of 0. */
static __always_inline bool is_gso(struct CTXTYPE *ctx) {
#if PCN_XDP
  return false;
#else
  return ctx->gso_size;
#endif
}

/* The first bytes of what an IP packet carries, as far as the packet says that it goes. */
static __always_inline bool read_head(struct CTXTYPE *ctx, const struct packet *packet, void *head, u32 size) {
  void *at = (void *)(long)ctx->data + (packet->l4 & 1023);
  if (packet->l4 + size > packet->payload_end)
    return false;
  if (packet->l4 < 1024 && at + size <= (void *)(long)ctx->data_end) {
    __builtin_memcpy(head, at, size);
    return true;
  }
  return pcn_load_bytes(ctx, packet->l4, head, size) == 0;
}

struct tcp_head {
  u16 sport, dport;
  u32 seq, ack;
  u8 offset, flags;
  u16 window;
};
struct short_head { /* of UDP, SCTP and ICMP */
  u16 words[4];
};

static __always_inline bool read_tcp(struct CTXTYPE *ctx, struct packet *packet, bool whole) {
  struct tcp_head tcp;
  if (!read_head(ctx, packet, &tcp, sizeof(tcp)))
    return false;
  u32 size = (tcp.offset >> 4) * 4;
  if (size < 20 || (whole && packet->l4 + size > packet->payload_end))
    return false;
  packet->ports = packet->talk = (u32)ntohs(tcp.sport) << 16 | ntohs(tcp.dport);
  packet->flags = tcp.flags;
  packet->has_ports = packet->has_flags = 1;
  return true;
}

static __always_inline bool read_udp(struct CTXTYPE *ctx, struct packet *packet, bool whole) { /* and SCTP */
  struct short_head head;
  if (!read_head(ctx, packet, &head, sizeof(head)))
    return false;
  u32 size = packet->proto == IPPROTO_UDP ? ntohs(head.words[2]) : 12;
  if (size < 8 || (whole && packet->l4 + size > packet->payload_end))
    return false;
  packet->ports = packet->talk = (u32)ntohs(head.words[0]) << 16 | ntohs(head.words[1]);
  packet->has_ports = 1;
  return true;
}

static __always_inline bool read_icmp(struct CTXTYPE *ctx, struct packet *packet) {
  struct short_head head;
  if (!read_head(ctx, packet, &head, sizeof(head)))
    return false;
  u16 message = ntohs(head.words[0]);
  packet->icmp_type = message >> 8;
  packet->ports = (u32)(message >> 8) << 16 | (message & 0xff); /* searched as ports are */
  packet->has_ports = 1;
  packet->talk = echo_ports(message >> 8, packet->family, ntohs(head.words[2]));
  return true;
}

/* What the packet carries: ports, flags, an ICMP message. */
static __always_inline int read_payload(struct CTXTYPE *ctx, struct packet *packet, const struct piece *piece) {
  u8 proto = packet->proto;
  struct fragment_key key = {};
  if (piece->fragment) {
    packet->fragment = 1;
    __builtin_memcpy(key.src, packet->src, 32);
    key.id = piece->id;
    key.proto = proto;
  }
  if (packet->later_fragment) {
    struct fragment *first = fragments.lookup(&key);
    if (first && bpf_ktime_get_coarse_ns() - first->seen < FRAGMENT_TIME) {
      packet->talk = first->talk;
      packet->ports = first->ports;
      packet->has_ports = 1;
    }
    return IS_IP;
  }
  bool whole = !piece->fragment, right = true;
  if (proto == IPPROTO_TCP)
    right = read_tcp(ctx, packet, whole);
  else if (proto == IPPROTO_UDP || proto == IPPROTO_SCTP)
    right = read_udp(ctx, packet, whole);
  else if (proto == (packet->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMP6))
    right = read_icmp(ctx, packet);
  if (!right)
    return MALFORMED;
  if (piece->fragment && packet->has_ports) {
    struct fragment first = {bpf_ktime_get_coarse_ns(), packet->talk, packet->ports};
    fragments.update(&key, &first);
  }
  return IS_IP;
}

/* The ones' complement sum of a header that is right is all ones. */
static __always_inline bool is_sum_right(struct CTXTYPE *ctx, const struct iphdr *ip, u32 l3) {
  const u32 *words = (const u32 *)ip;
  u64 sum = (u64)words[0] + words[1] + words[2] + words[3] + words[4], size = ip->ihl * 4 - sizeof(*ip);
  if (size--) {
    u32 options[16] = {}; /* 10 are the most: as many as the mask lets through */
    asm("" : "+r"(size)); /* or the compiler drops the mask, by which the verifier knows the bounds */
    if (pcn_load_bytes(ctx, l3 + sizeof(*ip), options, (size & (sizeof(options) - 1)) + 1) < 0)
      return false;
    sum += bpf_csum_diff(0, 0, options, sizeof(options), 0);
  }
  return pcn_csum_fold(sum) == 0;
}

static __always_inline int read_ipv4(struct CTXTYPE *ctx, struct packet *packet, u32 end, void *at, void *data, void *data_end,
                                     struct piece *piece) {
  struct iphdr *ip = at;
  if ((void *)(ip + 1) > data_end || ip->ihl < 5 || ip->version != 4 || !is_sum_right(ctx, ip, at - data))
    return MALFORMED;
  u32 size = ntohs(ip->tot_len);
  packet->l3 = at - data;
  packet->l4 = packet->l3 + ip->ihl * 4;
  packet->payload_end = size || !is_gso(ctx) ? packet->l3 + size : end;
  if (packet->payload_end < packet->l4 || packet->payload_end > end)
    return MALFORMED;
  packet->family = 4;
  v4_mapped(packet->src, ip->saddr);
  v4_mapped(packet->dst, ip->daddr);
  packet->proto = ip->protocol;
  u16 place = ntohs(ip->frag_off);
  packet->later_fragment = (place & 0x1fff) != 0;
  if ((place & 0x1fff) == 1 && ip->protocol == IPPROTO_TCP)
    return MALFORMED; /* RFC 1858: it would overwrite the flags */
  piece->fragment = (place & 0x3fff) != 0;
  piece->id = ip->id;
  return IS_IP;
}

static __always_inline int read_ipv6(struct CTXTYPE *ctx, struct packet *packet, u32 end, void *at, void *data, void *data_end,
                                     struct piece *piece) {
  struct ipv6hdr *ip = at;
  if ((void *)(ip + 1) > data_end || ip->version != 6)
    return MALFORMED;
  packet->family = 6;
  packet->l3 = at - data;
  u32 size = ntohs(ip->payload_len);
  bool unsaid = !size && (ip->nexthdr == IPPROTO_HOPOPTS || is_gso(ctx)); /* the kernel takes all that is there, too */
  packet->payload_end = unsaid ? end : packet->l3 + sizeof(*ip) + size;
  if (packet->payload_end > end)
    return MALFORMED;
  __builtin_memcpy(packet->src, &ip->saddr, 16);
  __builtin_memcpy(packet->dst, &ip->daddr, 16);
  u32 offset = at - data + sizeof(*ip);
  u8 next = ip->nexthdr;
  bool found = false;
  for (int i = 0; i < EXTENSIONS; i++) {
    u8 head[8];
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_MH &&
        next != IPPROTO_FRAGMENT) {
      found = true;
      break;
    }
    if (offset + 8 > packet->payload_end || pcn_load_bytes(ctx, offset, head, 8) < 0)
      return MALFORMED;
    if (next == IPPROTO_FRAGMENT) {
      piece->fragment = 1;
      packet->later_fragment = (head[2] | (head[3] & 0xf8)) != 0;
      __builtin_memcpy(&piece->id, head + 4, 4);
      offset += 8;
    } else {
      offset += 8 + head[1] * 8;
    }
    next = head[0];
    if (packet->later_fragment) { /* what follows is the middle of something */
      found = true;
      break;
    }
  }
  if (!found)
    return MALFORMED;
  packet->proto = next;
  packet->l4 = offset;
  return IS_IP;
}

/* What carries IP where no rule can see it: PPPoE sessions, MPLS, tags with other EtherTypes, Ethernet in Ethernet, LLC. */
static __always_inline bool hides_ip(struct CTXTYPE *ctx, u16 proto, u32 at) {
  u8 llc[8];
  switch (ntohs(proto)) {
  case 0x0806: return false;
  case 0x6558: /* Ethernet in Ethernet */
  case 0x8847: /* MPLS */
  case 0x8848:
  case 0x8864: /* a PPPoE session */
  case 0x88e7: /* 802.1ah */
  case 0x894f: /* NSH */
  case 0x9100: /* tags of before 802.1ad */
  case 0x9200:
  case 0x9300: return true;
  }
  if (ntohs(proto) >= 0x600 || pcn_load_bytes(ctx, at, llc, 8) < 0) /* 802.3: a length */
    return false;
  bool is_ip = (llc[6] == 0x08 && llc[7] == 0) || (llc[6] == 0x86 && llc[7] == 0xdd);
  return (llc[0] == 0xaa && llc[1] == 0xaa && is_ip) || (llc[0] == 6 && llc[1] == 6);
}

static __always_inline int read_packet(struct CTXTYPE *ctx, struct packet *packet, u32 end) {
  pull(ctx);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  void *at = eth + 1;
  if (at > data_end)
    return MALFORMED;
  u16 proto = eth->h_proto;
  u32 beside = tags_beside(ctx);
#pragma unroll
  for (int tags = 0; tags < TAGS; tags++) {
    struct {
      u16 tci, proto;
    } *tag = at;
    if (!pcn_is_tag(proto) || tags + beside >= TAGS)
      break;
    at = tag + 1;
    if (at > data_end)
      return MALFORMED;
    proto = tag->proto;
  }
  struct piece piece = {};
  int found;
  if (proto == htons(ETH_P_IP))
    found = read_ipv4(ctx, packet, end, at, data, data_end, &piece);
  else if (proto == htons(ETH_P_IPV6))
    found = read_ipv6(ctx, packet, end, at, data, data_end, &piece);
  else
    return pcn_is_tag(proto) ? MALFORMED : hides_ip(ctx, proto, at - data) ? HIDDEN_IP : NOT_IP;
  return found == IS_IP ? read_payload(ctx, packet, &piece) : found;
}

/* Everything that the rule set says is taken down now, so that all µCubes speak of one version. */
static __always_inline bool open_version(struct packet *packet) {
  u32 zero = 0;
  u32 *now = epoch.lookup(&zero);
  if (!now)
    return false;
  packet->epoch = *now;
  u32 bank = packet->epoch & 1;
  struct version *version = versions.lookup(&bank);
  if (!version)
    return false;
  packet->mode = version->mode;
  packet->default_action = version->chains[CHAIN].action;
  packet->tuples = packet->family == 4 ? version->chains[CHAIN].tuples4 : version->chains[CHAIN].tuples6;
  packet->page = (CHAIN * 2 + bank) * BANK_PAGES;
  return true;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
#if !PCN_XDP
  if (ctx->tc_index == OWN_ANSWER) {
    ctx->tc_index = 0;
    return RX_OK;
  }
#endif
  packet->ports = packet->talk = 0;
  packet->proto = packet->flags = packet->has_ports = packet->has_flags = 0;
  packet->state = packet->icmp_type = packet->later_fragment = packet->settled = packet->settles = packet->fragment = packet->news = 0;
  packet->at = packet->seat = packet->passes = 0;
  packet->after = 0;
  packet->best = NO_LABEL;
  packet->next.state = CONNECTION_NONE;
  packet->length = md->packet_len + 4 * tags_beside(ctx);
  packet->device = ctx->ingress_ifindex;

  int found = read_packet(ctx, packet, md->packet_len);
  if (found == NOT_IP)
    return RX_OK;
  md->reason = PCN_DROP_MALFORMED;
  if (found == MALFORMED || !open_version(packet))
    return RX_DROP;
  if (found == HIDDEN_IP) {
    count_decided(DECIDER_DEFAULT, packet->length);
    md->reason = PCN_DROP_POLICY;
    return packet->default_action == ACTION_ACCEPT ? RX_OK : RX_DROP;
  }
  if (packet->mode & MODE_TRACK)
    return tail_call_next(ctx, FIREWALL_TRACK);
  return classify(ctx, md, packet);
}
