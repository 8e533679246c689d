/* What a frame is, in one struct: Ethernet, VLAN tags, IPv4 or IPv6 with its extension headers, and the start of what it carries.
 *
 *     struct parsed is;                               on the stack (68 bytes), or in a per-CPU row
 *     switch (parse_packet(ctx, &is, md->packet_len)) NOT_IP, IS_IP, HIDDEN_IP or MALFORMED
 *
 * It pulls what it reads into linear data, so pointers into the packet must be made anew. `parse_link` alone steps over Ethernet and
 * tags; `is_ipv4_sum_right` looks at a header's checksum. PARSED is the struct's fields, for a struct that has them among its own.
 *
 * MALFORMED is what is cut short or says of itself what cannot be: lengths that do not fit, a wrong checksum of an IPv4 header, more
 * than TAGS tags or EXTENSIONS extension headers, a fragment that would overwrite TCP's flags (RFC 1858). Checksums of what IP carries
 * are not looked at. IP options are stepped over.
 */
#ifndef PCN_LIB_PARSE_H
#define PCN_LIB_PARSE_H
#include "lib/addr.h"

#define TAGS 2
#define EXTENSIONS 8   /* headers between IPv6 and what it carries */
#define PARSE_PULLED 94 /* bytes: Ethernet, two tags, IPv6 or IPv4 with all its options and some of what it carries */
#define IPPROTO_ICMP6 58
#define IPPROTO_MH 135

enum { NOT_IP, IS_IP, HIDDEN_IP, MALFORMED };

/* The first line and the last are of every frame, all else of IS_IP alone. `ports` is source << 16 | destination in host order, of ICMP
 * type << 16 | code, and 0 without; later fragments have none. Offsets count from the frame's first byte. */
#define PARSED                                                                                  \
  u32 src[4], dst[4];    /* network order; IPv4 is ::ffff:a.b.c.d */                            \
  u32 ports;                                                                                    \
  u32 family;            /* 4 or 6 */                                                           \
  u32 l3, l4;            /* of the IP header, and of what follows it and its extensions */      \
  u32 payload_end;       /* where the IP packet ends, by what its header says */                \
  u32 fragment_id;       /* of a fragment: the whole packet's number */                         \
  u16 icmp_id;           /* of ICMP: what an echo has as its identifier, host order */          \
  u8 proto, flags;       /* flags: TCP's */                                                     \
  u8 has_ports, has_flags, icmp_type, fragment; /* fragment: this is not all of a packet */     \
  u8 later_fragment;     /* it is none's first */                                               \
  u8 tags;               /* how many, with those beside the packet */                           \
  u16 ethertype;         /* behind the tags, network order */

struct parsed {
  PARSED
};

/* Tags that are beside the packet and not in it: under TC the outermost one of what came over a wire. */
static __always_inline u32 tags_beside(struct CTXTYPE *ctx) {
#if PCN_XDP
  return 0;
#else
  return ctx->vlan_present;
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

/* What follows Ethernet and its tags, TAGS at most, of which `tags` are known; it counts on. NULL: cut short. `ethertype` is then of
 * what follows, and a tag's if there is one too many. Loop bound: TAGS. */
static __always_inline void *parse_link(void *data, void *data_end, u32 *tags, u16 *ethertype) {
  struct ethhdr *eth = data;
  void *at = eth + 1;
  u32 beside = *tags;
  if (at > data_end)
    return NULL;
  u16 proto = eth->h_proto;
#pragma unroll
  for (int n = 0; n < TAGS; n++) {
    struct {
      u16 tci, proto;
    } *tag = at;
    if (!pcn_is_tag(proto) || n + beside >= TAGS)
      break;
    at = tag + 1;
    if (at > data_end)
      return NULL;
    proto = tag->proto;
    *tags = beside + n + 1;
  }
  *ethertype = proto;
  return at;
}

/* ---- What IP carries. ---- */

/* Its first bytes, as far as the packet says that it goes. */
static __always_inline bool read_head(struct CTXTYPE *ctx, const struct parsed *is, void *head, u32 size) {
  void *at = (void *)(long)ctx->data + (is->l4 & 1023);
  if (is->l4 + size > is->payload_end)
    return false;
  if (is->l4 < 1024 && at + size <= (void *)(long)ctx->data_end) {
    __builtin_memcpy(head, at, size);
    return true;
  }
  return pcn_load_bytes(ctx, is->l4, head, size) == 0;
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

static __always_inline bool read_tcp(struct CTXTYPE *ctx, struct parsed *is, bool whole) {
  struct tcp_head tcp;
  if (!read_head(ctx, is, &tcp, sizeof(tcp)))
    return false;
  u32 size = (tcp.offset >> 4) * 4;
  if (size < 20 || (whole && is->l4 + size > is->payload_end))
    return false;
  is->ports = (u32)ntohs(tcp.sport) << 16 | ntohs(tcp.dport);
  is->flags = tcp.flags;
  is->has_ports = is->has_flags = 1;
  return true;
}

static __always_inline bool read_udp(struct CTXTYPE *ctx, struct parsed *is, bool whole) { /* and SCTP */
  struct short_head head;
  if (!read_head(ctx, is, &head, sizeof(head)))
    return false;
  u32 size = is->proto == IPPROTO_UDP ? ntohs(head.words[2]) : 12;
  if (size < 8 || (whole && is->l4 + size > is->payload_end))
    return false;
  is->ports = (u32)ntohs(head.words[0]) << 16 | ntohs(head.words[1]);
  is->has_ports = 1;
  return true;
}

static __always_inline bool read_icmp(struct CTXTYPE *ctx, struct parsed *is) {
  struct short_head head;
  if (!read_head(ctx, is, &head, sizeof(head)))
    return false;
  u16 message = ntohs(head.words[0]);
  is->icmp_type = message >> 8;
  is->icmp_id = ntohs(head.words[2]);
  is->ports = (u32)(message >> 8) << 16 | (message & 0xff); /* searched as ports are */
  is->has_ports = 1;
  return true;
}

static __always_inline bool is_icmp(const struct parsed *is) { return is->proto == (is->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMP6); }

/* Ports, flags, an ICMP message. */
static __always_inline int parse_payload(struct CTXTYPE *ctx, struct parsed *is) {
  u8 proto = is->proto;
  bool whole = !is->fragment, right = true;
  if (is->later_fragment)
    return IS_IP;
  if (proto == IPPROTO_TCP)
    right = read_tcp(ctx, is, whole);
  else if (proto == IPPROTO_UDP || proto == IPPROTO_SCTP)
    right = read_udp(ctx, is, whole);
  else if (is_icmp(is))
    right = read_icmp(ctx, is);
  return right ? IS_IP : MALFORMED;
}

/* ---- IP. `end` is the frame's, and `at` its header in linear data. ---- */

/* The ones' complement sum of a header that is right is all ones. */
static __always_inline bool is_ipv4_sum_right(struct CTXTYPE *ctx, const struct iphdr *ip, u32 l3) {
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

static __always_inline int parse_ipv4(struct CTXTYPE *ctx, struct parsed *is, u32 end, void *at, void *data, void *data_end) {
  struct iphdr *ip = at;
  if ((void *)(ip + 1) > data_end || ip->ihl < 5 || ip->version != 4 || !is_ipv4_sum_right(ctx, ip, at - data))
    return MALFORMED;
  u32 size = ntohs(ip->tot_len);
  is->l3 = at - data;
  is->l4 = is->l3 + ip->ihl * 4;
  is->payload_end = size || !is_gso(ctx) ? is->l3 + size : end;
  if (is->payload_end < is->l4 || is->payload_end > end)
    return MALFORMED;
  is->family = 4;
  v4_mapped(is->src, ip->saddr);
  v4_mapped(is->dst, ip->daddr);
  is->proto = ip->protocol;
  u16 place = ntohs(ip->frag_off);
  is->later_fragment = (place & 0x1fff) != 0;
  if ((place & 0x1fff) == 1 && ip->protocol == IPPROTO_TCP)
    return MALFORMED; /* RFC 1858: it would overwrite the flags */
  is->fragment = (place & 0x3fff) != 0;
  is->fragment_id = ip->id;
  return IS_IP;
}

/* Loop bound: EXTENSIONS. */
static __always_inline int parse_ipv6(struct CTXTYPE *ctx, struct parsed *is, u32 end, void *at, void *data, void *data_end) {
  struct ipv6hdr *ip = at;
  if ((void *)(ip + 1) > data_end || ip->version != 6)
    return MALFORMED;
  is->family = 6;
  is->l3 = at - data;
  u32 size = ntohs(ip->payload_len);
  bool unsaid = !size && (ip->nexthdr == IPPROTO_HOPOPTS || is_gso(ctx)); /* the kernel takes all that is there, too */
  is->payload_end = unsaid ? end : is->l3 + sizeof(*ip) + size;
  if (is->payload_end > end)
    return MALFORMED;
  __builtin_memcpy(is->src, &ip->saddr, 16);
  __builtin_memcpy(is->dst, &ip->daddr, 16);
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
    if (offset + 8 > is->payload_end || pcn_load_bytes(ctx, offset, head, 8) < 0)
      return MALFORMED;
    if (next == IPPROTO_FRAGMENT) {
      is->fragment = 1;
      is->later_fragment = (head[2] | (head[3] & 0xf8)) != 0;
      __builtin_memcpy(&is->fragment_id, head + 4, 4);
      offset += 8;
    } else {
      offset += 8 + head[1] * 8;
    }
    next = head[0];
    if (is->later_fragment) { /* what follows is the middle of something */
      found = true;
      break;
    }
  }
  if (!found)
    return MALFORMED;
  is->proto = next;
  is->l4 = offset;
  return IS_IP;
}

/* What carries IP where nobody here looks for it: PPPoE sessions, MPLS, tags with other EtherTypes, Ethernet in Ethernet, LLC. */
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

static __always_inline int parse_packet(struct CTXTYPE *ctx, struct parsed *is, u32 end) {
  u32 tags = tags_beside(ctx);
  u16 proto;
  pcn_pull(ctx, PARSE_PULLED);
  void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
  void *at = parse_link(data, data_end, &tags, &proto);
  is->ports = is->fragment_id = 0;
  is->icmp_id = 0;
  is->proto = is->flags = is->has_ports = is->has_flags = is->icmp_type = is->fragment = is->later_fragment = 0;
  if (!at)
    return MALFORMED;
  is->tags = tags;
  is->ethertype = proto;
  int found;
  if (proto == htons(ETH_P_IP))
    found = parse_ipv4(ctx, is, end, at, data, data_end);
  else if (proto == htons(ETH_P_IPV6))
    found = parse_ipv6(ctx, is, end, at, data, data_end);
  else
    return pcn_is_tag(proto) ? MALFORMED : hides_ip(ctx, proto, at - data) ? HIDDEN_IP : NOT_IP;
  return found == IS_IP ? parse_payload(ctx, is) : found;
}
#endif
