/* What bindgen reads: DPDK's headers, the shim, and the constants that headers define as macros (bindgen cannot
 * evaluate RTE_BIT64, so each is given a typed name here). */
#include <rte_eal.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_launch.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_memzone.h>
#include <rte_ring.h>
#include <rte_timer.h>
#include <rte_version.h>

#include "shim.h"

static const uint64_t TD_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t TD_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t TD_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t TD_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t TD_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t TD_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t TD_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t TD_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t TD_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t TD_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;
static const uint64_t TD_TX_OFFLOAD_MASK = RTE_MBUF_F_TX_OFFLOAD_MASK;

static const uint64_t TD_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t TD_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t TD_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t TD_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t TD_TX_OFFLOAD_UDP_CKSUM = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t TD_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t TD_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint32_t TD_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t TD_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t TD_RETA_GROUP = RTE_ETH_RETA_GROUP_SIZE;

static const uint32_t TD_RING_SP_ENQ = RING_F_SP_ENQ;
static const uint32_t TD_RING_SC_DEQ = RING_F_SC_DEQ;
static const uint32_t TD_LCORE_ID_ANY = LCORE_ID_ANY;
static const int32_t TD_SOCKET_ID_ANY = SOCKET_ID_ANY;
static const uint32_t TD_MAX_LCORE = RTE_MAX_LCORE;
static const uint32_t TD_PKTMBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint32_t TD_L2_LEN_BITS = RTE_MBUF_L2_LEN_BITS;
static const uint32_t TD_L3_LEN_BITS = RTE_MBUF_L3_LEN_BITS;
