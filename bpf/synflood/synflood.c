/* Answers SYNs with cookies in the place of the host's own stack, for its listening sockets, while the stack would do so itself: when
 * the socket's queue is full, or always (net.ipv4.tcp_syncookies = 1 or 2). The stack takes the ACK that follows for its own cookie's.
 *
 * The SYN becomes its answer where it stands, at its length: the first option says the stack's MSS, all others become padding. What is no
 * SYN to a listening socket of this host passes untouched, and nothing but its flags is looked at.
 */
#include "synflood.h"

#define ANSWER_WINDOW 65535 /* without scaling: the cookie has no room for what the client's SYN said of it */
#define OPTIONS 10          /* words */
#define NO_OPTION 0x01010101
#define LISTENING 10 /* TCP_LISTEN */

struct headers { /* as the kernel's helpers want them: in memory, at once */
  u32 ip[10];
  u32 tcp[TCP_MOST / 4];
  u64 tcp_size;
};

static __always_inline bool read_headers(struct CTXTYPE *ctx, const struct parsed *is, struct headers *heads) {
  u64 size = heads->tcp_size;
  if (is->family == 4 ? pcn_load_bytes(ctx, is->l3, heads->ip, sizeof(struct iphdr)) < 0
                      : pcn_load_bytes(ctx, is->l3, heads->ip, sizeof(struct ipv6hdr)) < 0)
    return false;
  return pcn_bound(&size, TCP_MOST) && pcn_load_bytes(ctx, is->l4, heads->tcp, size) == 0;
}

/* The cookie and, above its 32 bits, the MSS; less than 0: the stack wants the SYN itself, or nobody listens. */
static __always_inline s64 cookie_for(struct CTXTYPE *ctx, const struct parsed *is, struct headers *heads) {
  struct bpf_sock_tuple tuple = {};
  struct bpf_sock *sk;
  u32 ports = heads->tcp[0];
  u64 size = heads->tcp_size;
  s64 cookie = -1;
  if (is->family == 4) {
    tuple.ipv4.saddr = is->src[3];
    tuple.ipv4.daddr = is->dst[3];
    __builtin_memcpy(&tuple.ipv4.sport, &ports, 4);
    sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), -1, 0);
  } else {
    __builtin_memcpy(tuple.ipv6.saddr, is->src, 16);
    __builtin_memcpy(tuple.ipv6.daddr, is->dst, 16);
    __builtin_memcpy(&tuple.ipv6.sport, &ports, 4);
    sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), -1, 0);
  }
  if (!sk)
    return -1;
  if (sk->state == LISTENING && pcn_bound(&size, TCP_MOST))
    cookie = bpf_tcp_gen_syncookie(sk, heads->ip, sizeof(heads->ip), heads->tcp, size);
  bpf_sk_release(sk);
  return cookie;
}

/* Of the SYN's options the first becomes the MSS, the others none. Loop bound: OPTIONS. */
static __always_inline bool answer_options(struct CTXTYPE *ctx, const struct parsed *is, const struct headers *heads, u32 mss) {
  u32 options[OPTIONS];
  u32 words = heads->tcp_size / 4 - 5;
  u64 size = words * 4;
  if (!words)
    return true;
  __builtin_memcpy(options, heads->tcp + 5, sizeof(options));
#pragma unroll
  for (int n = 0; n < OPTIONS; n++)
    if (n < words)
      options[n] = n ? NO_OPTION : htonl(0x02040000 | mss);
  u32 changed = bpf_csum_diff((void *)(heads->tcp + 5), sizeof(options), options, sizeof(options), 0);
  return pcn_l4_csum_replace(ctx, is->l4 + offsetof(struct segment, check), 0, changed, 0) >= 0 && pcn_bound(&size, sizeof(options)) &&
         pcn_store_bytes(ctx, is->l4 + sizeof(struct segment) + 2, options, size) >= 0;
}

/* The SYN becomes the SYN-ACK. Ports and addresses change places, which no checksum notices. */
static __always_inline bool answer(struct CTXTYPE *ctx, const struct parsed *is, const struct headers *heads, s64 cookie) {
  struct segment old, new;
  u32 check = is->l4 + offsetof(struct segment, check);
  __builtin_memcpy(&old, heads->tcp, sizeof(old));
  new = old;
  new.sport = old.dport;
  new.dport = old.sport;
  new.seq = htonl((u32)cookie);
  new.ack = htonl(ntohl(old.seq) + 1);
  new.offset = old.offset & 0xf0;
  new.flags = TCP_SYN | TCP_ACK;
  new.window = htons(ANSWER_WINDOW);
  if (!answer_options(ctx, is, heads, cookie >> 32 & 0xffff) || pcn_store_bytes(ctx, is->l4, &new, offsetof(struct segment, check)) < 0)
    return false;
  pcn_l4_csum_replace(ctx, check, old.seq, new.seq, 4);
  pcn_l4_csum_replace(ctx, check, old.ack, new.ack, 4);
  pcn_l4_csum_replace(ctx, check, htons(old.offset << 8 | old.flags), htons(new.offset << 8 | new.flags), 2);
  pcn_l4_csum_replace(ctx, check, old.window, new.window, 2);
  swap_addresses(ctx, is);
  swap_macs(ctx);
  return renew_header(ctx, is);
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed is;
  if (!(PCN_CONST(PROTECTED) | PCN_CONST(PROXIES)) || parse_packet(ctx, &is, md->packet_len) != IS_IP || is.proto != IPPROTO_TCP)
    return RX_OK;
  if (PCN_CONST(PROXIES) && proxied_of(is.dst) && !own_addresses.lookup((struct address *)is.dst))
    goto proxy;
  if (!PCN_CONST(PROTECTED) || is.fragment || !begins(&is))
    return RX_OK;
  count(SYNS);
  struct headers heads = {};
  u8 offset = 0, target = 1;
  if (pcn_load_bytes(ctx, is.l4 + offsetof(struct segment, offset), &offset, 1) < 0 || pcn_load_bytes(ctx, 0, &target, 1) < 0)
    return RX_OK;
  heads.tcp_size = (offset >> 4) * 4;
  if (is.tags || target & 1 || has_more(&is) || !own_addresses.lookup((struct address *)is.dst) || !read_headers(ctx, &is, &heads))
    return RX_OK; /* of a VLAN, to many, with options of IP, or others' */
  s64 cookie = cookie_for(ctx, &is, &heads);
  if (cookie < 0)
    return RX_OK;
  if (is.l4 + heads.tcp_size != is.payload_end) { /* it carries something: the client sends it without after a second */
    count(CARRYING);
    md->reason = PCN_DROP_POLICY;
    return RX_DROP;
  }
  if (!answer(ctx, &is, &heads, cookie))
    return PCN_SHOT;
  count(COOKIES);
  return send_back(ctx, md);
proxy:
  call_ingress_program(ctx, PROXY);
  return RX_DROP;
}
