/* Connections under rules that have changed since they were accepted (`policy-rematch`): the rules are asked again, as if the connection
 * began now. Which they were stands in its row: `accepted`, enum accepted of lib/conntrack.h.
 *
 * A packet of who began it meets one chain, and what is answered meets the other one at the same place. So an answer asks for what the
 * other chain has accepted; and that is asked again about the packet that the answer would be one to, with addresses and ports
 * exchanged. A connection may pass the firewall twice, from one port to another behind it, and needs both chains then.
 *
 * A connection that a chain has never accepted is none to its answers there: they may begin one of their own.
 */
#ifndef FIREWALL_REMATCH_H
#define FIREWALL_REMATCH_H
struct packet;
struct connection;
static __always_inline bool is_accepted(const struct packet *packet, const struct connection *known);
#define FOLLOW_RELATES(packet, known) is_accepted(packet, known)
#include "firewall.h"

static __always_inline u32 chain_asked(u32 answers) { return (CHAIN ^ answers) & 1; }

static __always_inline bool is_up_to_date(const struct packet *packet, u16 accepted, u32 chain) {
  u32 by = ACCEPTED_BY << chain;
  return (accepted & (ACCEPTED_VERSION | by)) == (packet->version | by);
}

/* Of an error, which goes to who sent what it is about: whether the rules of now have accepted that. */
static __always_inline bool is_accepted(const struct packet *packet, const struct connection *known) {
  if (!known || !(packet->mode & MODE_REMATCH))
    return known != NULL;
  return is_up_to_date(packet, known->accepted, chain_asked(known->opener != packet->sender));
}

/* The connection, unless it is none here. One of before MODE_REMATCH says nothing of who accepted it. */
static __always_inline struct connection *find_accepted(struct packet *packet, struct connection *known) {
  u32 answers = known->opener != packet->sender, chain = chain_asked(answers), accepted = known->accepted;
  if (answers && accepted && !(accepted & ACCEPTED_ONCE << chain)) {
    packet->settled = 0;
    return NULL;
  }
  packet->answers = answers;
  packet->outdated = is_up_to_date(packet, accepted, chain) ? UP_TO_DATE : OUTDATED;
  return known;
}

static __always_inline bool is_outdated(const struct packet *packet) { return packet->outdated == OUTDATED && packet->state == STATE_ESTABLISHED; }

/* Addresses and ports of the other direction, and its chain; done twice, nothing has changed but that sets have to be found anew. */
static __always_inline bool turn(struct packet *packet) {
  u32 bank = packet->epoch & 1;
  struct version *version = versions.lookup(&bank);
  if (!version)
    return false;
  packet->turned ^= 1;
  u32 chain = chain_asked(packet->turned);
  struct chain *rules = &version->chains[chain];
  packet->sets = version->sets >> (chain * 8) & 0xff;
  packet->default_action = rules->action;
  packet->tuples = packet->family == 4 ? rules->tuples4 : rules->tuples6;
  packet->page = (chain * 2 + bank) * BANK_PAGES;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    u32 word = packet->src[i];
    packet->src[i] = packet->dst[i];
    packet->dst[i] = word;
  }
  return true;
}

/* The rules decide as on the packet that began the connection: of TCP a SYN, of ICMP a question. False: they cannot be read. */
static __always_inline bool rematch(struct packet *packet) {
  packet->state = STATE_NEW;
  packet->outdated = MATCHED_ANEW;
  packet->own_flags = packet->flags;
  packet->own_ports = packet->ports;
  if (packet->has_flags)
    packet->flags = SYN;
  if (!packet->answers)
    return true;
  if (is_icmp(&packet->parsed))
    packet->ports = icmp_question(packet->icmp_type, packet->family) << 16;
  else
    packet->ports = packet->ports << 16 | packet->ports >> 16;
  return turn(packet);
}

/* What was changed for the rules is taken back. */
static __always_inline void take_as_it_is(struct packet *packet) {
  if (packet->outdated != MATCHED_ANEW)
    return;
  packet->outdated = OUTDATED;
  packet->flags = packet->own_flags;
  packet->ports = packet->own_ports;
  if (packet->turned)
    turn(packet);
}

/* The rules have accepted it, as what begins a connection: only that is NEW. */
static __always_inline void note_accepted(struct packet *packet) {
  if (!(packet->mode & MODE_REMATCH) || packet->state != STATE_NEW)
    return;
  u32 bits = (ACCEPTED_BY | ACCEPTED_ONCE) << chain_asked(packet->next.opener != packet->sender), known = packet->next.accepted;
  bool same = (known & ACCEPTED_VERSION) == packet->version;
  packet->next.accepted = bits | packet->version | (same ? known : known & 3 * ACCEPTED_ONCE);
}
#endif
