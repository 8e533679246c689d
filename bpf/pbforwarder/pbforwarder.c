/* A policy-based forwarder: what becomes of a frame depends on the first rule that it matches, by any of its headers.
 *
 * What no rule matches is dropped, as is what is cut short or contradicts itself (lib/parse.h). The VLAN is the outermost tag's, and 0
 * without one; the EtherType is that behind up to two tags. Fragments that are not their packet's first have no ports.
 */
#include "pbforwarder.h"

static __always_inline bool open_version(struct packet *packet) {
  u32 zero = 0, *now = epoch.lookup(&zero);
  if (!now)
    return false;
  packet->epoch = *now;
  u32 bank = *now & 1;
  struct version *version = versions.lookup(&bank);
  packet->tuples = version ? version->tuples : 0;
  packet->page = bank * BANK_PAGES;
  return packet->tuples;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct packet *packet = packet_context();
  if (!packet)
    return RX_DROP;
  int found = parse_packet(ctx, &packet->is, md->packet_len);
  if (found == MALFORMED)
    return refuse(md, PCN_DROP_MALFORMED);
  int vlan = pcn_get_vlan_id(ctx);
  if (found == IS_IP) {
    __builtin_memcpy(packet->words + AT_SRC, packet->is.src, 32);
    packet->words[AT_PORTS] = packet->is.ports;
  } else {
    __builtin_memset(packet->words, 0, 36);
  }
  if (pcn_load_bytes(ctx, 0, packet->words + AT_MACS, 12))
    return refuse(md, PCN_DROP_MALFORMED);
  packet->words[AT_LINK] = (u32)ntohs(packet->is.ethertype) << 16 | (vlan > 0 ? vlan : 0);
  packet->proto = packet->is.proto;
  packet->has_ports = packet->is.has_ports;
  packet->port = md->in_port;
  packet->at = packet->seat = packet->passes = 0;
  packet->after = 0;
  packet->best = NO_LABEL;
  if (!open_version(packet))
    return RX_DROP;
  return tail_call_next(ctx, PBF_SEARCH);
}
