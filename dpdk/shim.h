/* Static-inline functions of DPDK, given a symbol. Burst-shaped: one call per burst, never one per packet, because
 * there is no link-time optimisation across the C compiler and rustc. */
#ifndef TANDEM_DPDK_SHIM_H
#define TANDEM_DPDK_SHIM_H

#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

/* rte_errno of the calling thread. */
int td_errno(void);
/* Sends DPDK's log to standard error; to be called before rte_eal_init. */
void td_log_to_stderr(void);
/* LCORE_ID_ANY on a thread that DPDK does not know. */
unsigned int td_lcore_id(void);
uint64_t td_rdtsc(void);

/* A pool of n mbufs with `room` bytes each, headroom included; NULL and rte_errno on failure. Without hugepages its
 * buffers lie end to end, and not one to a page: net_af_xdp registers n times the size of a buffer as its memory, and a
 * buffer beyond that is lost to the kernel as soon as it is offered. */
struct rte_mempool *td_pktmbuf_pool_create(const char *name, unsigned int n, unsigned int cache, uint16_t room, int socket,
					   const char *operations);

/* One mbuf of the pool, reset, without data; NULL when the pool is empty. */
struct rte_mbuf *td_pktmbuf_alloc(struct rte_mempool *pool);
/* Frees the whole chain. */
void td_pktmbuf_free(struct rte_mbuf *m);
void td_pktmbuf_free_bulk(struct rte_mbuf **packets, unsigned int n);

uint16_t td_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t n);
/* Sends packets[0..n], frees those that the device did not take, returns how many were freed. With `prepare`, packets
 * pass rte_eth_tx_prepare first, as drivers with checksum offload demand. */
uint16_t td_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t n, int prepare,
		     uint64_t *refused_bytes);

/* Enqueues packets[0..n], frees those that found no room, returns how many were freed. */
unsigned int td_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **packets, unsigned int n);
unsigned int td_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **packets, unsigned int n);
unsigned int td_ring_count(const struct rte_ring *ring);
unsigned int td_ring_capacity(const struct rte_ring *ring);

/* Speed in Mb/s, or 0 where the driver does not know; *up is 0 or 1. */
int td_link(uint16_t port, uint32_t *speed_mbps, int *up);

#endif
