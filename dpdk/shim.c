/* See shim.h. Nothing here keeps state. */
#include <stdio.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include "shim.h"

int td_errno(void) { return rte_errno; }

void td_log_to_stderr(void) { rte_openlog_stream(stderr); }

unsigned int td_lcore_id(void) { return rte_lcore_id(); }

uint64_t td_rdtsc(void) { return rte_rdtsc(); }

struct rte_mempool *td_pktmbuf_pool_create(const char *name, unsigned int n, unsigned int cache, uint16_t room, int socket,
					   const char *operations)
{
	if (rte_eal_has_hugepages())
		return rte_pktmbuf_pool_create_by_ops(name, n, cache, 0, room, socket, operations);

	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = room };
	struct rte_mempool *pool = rte_mempool_create_empty(name, n, sizeof(struct rte_mbuf) + room, cache,
							    sizeof(private), socket, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	if (pool == NULL)
		return NULL;
	int failed = rte_mempool_set_ops_byname(pool, operations, NULL);
	if (failed == 0) {
		rte_pktmbuf_pool_init(pool, &private);
		int populated = rte_mempool_populate_default(pool);
		failed = populated < 0 ? populated : 0;
	}
	if (failed != 0) {
		rte_mempool_free(pool);
		rte_errno = -failed;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

struct rte_mbuf *td_pktmbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }

void td_pktmbuf_free(struct rte_mbuf *m) { rte_pktmbuf_free(m); }

void td_pktmbuf_free_bulk(struct rte_mbuf **packets, unsigned int n) { rte_pktmbuf_free_bulk(packets, n); }

uint16_t td_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, packets, n);
}

/* Frees packets that were not sent; returns their bytes. */
static uint64_t give_up(struct rte_mbuf **packets, uint16_t n)
{
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < n; i++)
		bytes += packets[i]->pkt_len;
	rte_pktmbuf_free_bulk(packets, n);
	return bytes;
}

uint16_t td_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t n, int prepare,
		     uint64_t *refused_bytes)
{
	uint16_t sent = 0, at = 0;

	while (at < n) {
		uint16_t ready = prepare ? rte_eth_tx_prepare(port, queue, packets + at, n - at) : n - at;
		uint16_t taken = ready ? rte_eth_tx_burst(port, queue, packets + at, ready) : 0;

		sent += taken;
		at += taken;
		if (taken < ready) {
			/* The queue is full: what is left would only wait for the next burst's place. */
			*refused_bytes += give_up(packets + at, n - at);
			break;
		}
		if (at < n) {
			/* The driver refused to prepare this one; those behind it may be sound. */
			*refused_bytes += give_up(packets + at, 1);
			at++;
		}
	}
	return n - sent;
}

unsigned int td_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **packets, unsigned int n)
{
	unsigned int taken = rte_ring_enqueue_burst(ring, (void **)packets, n, NULL);

	if (taken < n)
		rte_pktmbuf_free_bulk(packets + taken, n - taken);
	return n - taken;
}

unsigned int td_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **packets, unsigned int n)
{
	return rte_ring_dequeue_burst(ring, (void **)packets, n, NULL);
}

unsigned int td_ring_count(const struct rte_ring *ring) { return rte_ring_count(ring); }

unsigned int td_ring_capacity(const struct rte_ring *ring) { return rte_ring_get_capacity(ring); }

int td_link(uint16_t port, uint32_t *speed_mbps, int *up)
{
	struct rte_eth_link link;
	int status = rte_eth_link_get_nowait(port, &link);

	if (status == 0) {
		*speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
		*up = link.link_status;
	}
	return status;
}
