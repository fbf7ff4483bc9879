/* fault_proxy: a TCP proxy that misbehaves on request, for one connection's road between walferry and a server.
 * fault_proxy LISTEN_PORT TARGET_ADDRESS TARGET_PORT CONTROL_SOCKET
 * "up" is towards the target, "down" towards the client. One thread, one poll loop. The control socket takes lines and
 * answers "ok …" or "error: …":
 *
 *   latency MS [JITTER]     every piece is delivered that much later, both ways
 *   rate KIB                KiB per second and direction
 *   slice N                 at most N bytes per write
 *   cut up|down N           every connection is closed when N bytes have gone that way
 *   hold                    silence: nothing is read or delivered, both sockets stay open, new ones are taken in
 *   slow_close MS           the end of one side reaches the other that much later
 *   corrupt up|down N       one bit of every Nth byte is turned
 *   swallow up PATTERN      once: the client's bytes pass, the answers that follow PATTERN are thrown away
 *   swallow down PATTERN    once: PATTERN and all that follows it from the target is thrown away
 *   late MS PATTERN         once: the client's bytes with PATTERN in them, and all behind them, arrive that much later,
 *                           also when the client has gone meanwhile
 *   down                    new connections are refused
 *   reset                   every open connection ends by RST, now
 *   clear                   all of the above off
 *   stats                   connections N total N up N down N swallowed N delayed N
 * PATTERN: printable characters and \xNN. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 64,
    PIECES_MAX = 64, /* per direction; a full queue is not read into */
    PIECE_BYTES = 16 * 1024,
    PATTERN_MAX = 128,
    LINE_MAX_BYTES = 512,
    FOREVER_MS = 60 * 1000
};

typedef enum Way { UP, DOWN } Way;

typedef struct Piece {
    int64_t due_ms;
    size_t used, sent;
    unsigned char bytes[PIECE_BYTES];
} Piece;

typedef struct Flow {
    Piece *pieces[PIECES_MAX]; /* a ring */
    unsigned first, count;
    uint64_t passed_bytes;                    /* read from the sender */
    int64_t allowance_bytes, allowance_at_ms; /* for `rate` */
    int64_t ended_ms;                         /* the sender's end was read then; -1: not yet */
    unsigned char tail[PATTERN_MAX];          /* the last bytes that were read, for patterns across reads */
    size_t tail_used;
} Flow;

typedef struct Connection {
    bool open;
    int client, target;
    bool swallowing;
    Flow flows[2];
} Connection;

typedef struct Faults {
    int latency_ms, jitter_ms, slow_close_ms;
    int64_t rate_bytes, slice_bytes;
    int64_t cut_bytes[2], corrupt_every[2];
    bool hold, refuse, armed;
    int late_ms; /* of what is awaited: it is not swallowed, but delivered so much later; 0: swallowed */
    Way swallow_way;
    unsigned char pattern[PATTERN_MAX];
    size_t pattern_used;
} Faults;

typedef struct Proxy {
    int listener, control, talker; /* talker: the control client, -1 none */
    char line[LINE_MAX_BYTES];
    size_t line_used;
    struct sockaddr_in target;
    Faults faults;
    Connection connections[CONNECTIONS_MAX];
    uint64_t total, bytes[2], swallowed, delayed;
} Proxy;

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void die(const char *what) {
    fprintf(stderr, "fault_proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void socket_prepare(int fd) {
    int on = 1;
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails harmlessly on unix sockets */
}

static int *end_of(Connection *c, Way way, bool sender) {
    return (way == UP) == sender ? &c->client : &c->target;
}

static void connection_close(Connection *c, bool reset) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int ends[2] = {c->client, c->target};
    for (int side = 0; side < 2; side++) {
        if (reset)
            (void)setsockopt(ends[side], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(ends[side]);
    }
    for (int way = UP; way <= DOWN; way++)
        for (; c->flows[way].count > 0; c->flows[way].count--, c->flows[way].first++)
            free(c->flows[way].pieces[c->flows[way].first % PIECES_MAX]);
    c->open = false;
}

static void connection_take(Proxy *p) {
    int client = accept(p->listener, NULL, NULL);
    if (client < 0)
        return;
    Connection *c = p->connections;
    while (c < p->connections + CONNECTIONS_MAX && c->open)
        c++;
    int target = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c == p->connections + CONNECTIONS_MAX || target < 0 || p->faults.refuse ||
        connect(target, (struct sockaddr *)&p->target, sizeof p->target) != 0) {
        close(client);
        if (target >= 0)
            close(target);
        return;
    }
    *c = (Connection){.open = true, .client = client, .target = target};
    c->flows[UP].ended_ms = c->flows[DOWN].ended_ms = -1;
    socket_prepare(client);
    socket_prepare(target);
    p->total++;
}

/* The pattern's end in what was read before and now; 0 when it is not there. Counted from the piece's begin.
 */
static size_t pattern_end(const Faults *f, Flow *flow, const Piece *piece) {
    unsigned char joined[PATTERN_MAX + PIECE_BYTES];
    memcpy(joined, flow->tail, flow->tail_used);
    memcpy(joined + flow->tail_used, piece->bytes, piece->used);
    size_t size = flow->tail_used + piece->used;
    const unsigned char *found = memmem(joined, size, f->pattern, f->pattern_used);
    size_t end = found == NULL ? 0 : (size_t)(found - joined) + f->pattern_used - flow->tail_used;

    flow->tail_used = size < f->pattern_used - 1 ? size : f->pattern_used - 1;
    memcpy(flow->tail, joined + size - flow->tail_used, flow->tail_used);
    return end;
}

/* Cuts or delays the piece, or marks the connection, when the awaited pattern passes. */
static void piece_swallow(Proxy *p, Connection *c, Way way, Piece *piece) {
    Faults *f = &p->faults;
    if (c->swallowing && way == DOWN) {
        p->swallowed += piece->used;
        piece->used = 0;
        return;
    }
    if (!f->armed || f->swallow_way != way)
        return;
    size_t end = pattern_end(f, &c->flows[way], piece);
    if (end == 0)
        return;
    f->armed = false;
    if (f->late_ms > 0) {
        piece->due_ms += f->late_ms;
        p->delayed += piece->used;
        return;
    }
    c->swallowing = true;
    if (way == DOWN) {
        size_t begin = end > f->pattern_used ? end - f->pattern_used : 0;
        p->swallowed += piece->used - begin;
        piece->used = begin;
    }
}

static void piece_corrupt(const Proxy *p, const Flow *flow, Way way, Piece *piece) {
    uint64_t every = (uint64_t)p->faults.corrupt_every[way];
    for (size_t at = 0; every > 0 && at < piece->used; at++)
        if ((flow->passed_bytes + at + 1) % every == 0)
            piece->bytes[at] ^= 0x10;
}

static void flow_read(Proxy *p, Connection *c, Way way) {
    Flow *flow = &c->flows[way];
    Piece *piece = malloc(sizeof *piece);
    if (piece == NULL)
        die("memory");
    ssize_t got = read(*end_of(c, way, true), piece->bytes, sizeof piece->bytes);
    if (got <= 0) {
        free(piece);
        if (got == 0)
            flow->ended_ms = now_ms();
        else if (errno != EAGAIN && errno != EINTR)
            connection_close(c, errno == ECONNRESET);
        return;
    }
    piece->used = (size_t)got;
    piece->sent = 0;
    int jitter = p->faults.jitter_ms > 0 ? rand() % (p->faults.jitter_ms + 1) : 0;
    piece->due_ms = now_ms() + p->faults.latency_ms + jitter;
    piece_corrupt(p, flow, way, piece);
    flow->passed_bytes += (uint64_t)got;
    p->bytes[way] += (uint64_t)got;
    piece_swallow(p, c, way, piece);
    if (piece->used == 0)
        free(piece);
    else
        flow->pieces[(flow->first + flow->count++) % PIECES_MAX] = piece;
}

/* How much may be written now, under rate, slice and cut; 0: later. */
static size_t flow_allowed(Proxy *p, Flow *flow, Way way, size_t wanted) {
    const Faults *f = &p->faults;
    int64_t allowed = (int64_t)wanted, now = now_ms();
    if (f->slice_bytes > 0 && allowed > f->slice_bytes)
        allowed = f->slice_bytes;
    if (f->rate_bytes > 0) {
        int64_t grown = flow->allowance_bytes + (now - flow->allowance_at_ms) * f->rate_bytes / 1000;
        flow->allowance_bytes = grown > f->rate_bytes / 10 + 1 ? f->rate_bytes / 10 + 1 : grown;
        flow->allowance_at_ms = now;
        if (allowed > flow->allowance_bytes)
            allowed = flow->allowance_bytes;
    }
    int64_t queued = 0;
    for (unsigned at = 0; at < flow->count; at++) {
        const Piece *piece = flow->pieces[(flow->first + at) % PIECES_MAX];
        queued += (int64_t)(piece->used - piece->sent);
    }
    int64_t left = f->cut_bytes[way] - ((int64_t)flow->passed_bytes - queued);
    if (f->cut_bytes[way] > 0 && allowed > left)
        allowed = left > 0 ? left : 0;
    return (size_t)allowed;
}

static void flow_write(Proxy *p, Connection *c, Way way) {
    Flow *flow = &c->flows[way];
    Piece *piece = flow->pieces[flow->first % PIECES_MAX];
    size_t size = flow_allowed(p, flow, way, piece->used - piece->sent);
    if (size == 0) {
        if (p->faults.cut_bytes[way] > 0 && p->faults.rate_bytes == 0)
            connection_close(c, false);
        return;
    }
    ssize_t put = send(*end_of(c, way, false), piece->bytes + piece->sent, size, MSG_NOSIGNAL);
    if (put < 0) {
        if (errno != EAGAIN && errno != EINTR)
            connection_close(c, true);
        return;
    }
    flow->allowance_bytes -= put;
    piece->sent += (size_t)put;
    if (piece->sent == piece->used) {
        free(piece);
        flow->first++;
        flow->count--;
    }
}

/* An end that was read reaches the other side when all before it is delivered. */
static void connection_finish(const Proxy *p, Connection *c) {
    for (int way = UP; way <= DOWN && c->open; way++) {
        const Flow *flow = &c->flows[way];
        if (flow->ended_ms >= 0 && flow->count == 0 && now_ms() >= flow->ended_ms + p->faults.slow_close_ms)
            connection_close(c, false);
    }
}

/* ---- control ---- */

static bool pattern_parse(Faults *f, const char *text) {
    f->pattern_used = 0;
    while (*text != '\0') {
        unsigned value = (unsigned char)*text;
        int taken = 1;
        if (strncmp(text, "\\x", 2) == 0 && sscanf(text, "\\x%2x%n", &value, &taken) != 1)
            return false;
        if (f->pattern_used == PATTERN_MAX)
            return false;
        f->pattern[f->pattern_used++] = (unsigned char)value;
        text += taken;
    }
    return f->pattern_used > 0;
}

static bool way_parse(const char *word, Way *out) {
    *out = strcmp(word, "up") == 0 ? UP : DOWN;
    return *out == UP || strcmp(word, "down") == 0;
}

static bool pattern_arm(Proxy *p, const char *way, const char *pattern, int late_ms) {
    if (!way_parse(way, &p->faults.swallow_way) || !pattern_parse(&p->faults, pattern))
        return false;
    p->faults.late_ms = late_ms;
    p->faults.armed = true;
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        p->connections[at].flows[UP].tail_used = p->connections[at].flows[DOWN].tail_used = 0;
    return true;
}

static void connections_reset(Proxy *p) {
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        if (p->connections[at].open)
            connection_close(&p->connections[at], true);
}

static bool line_number(Proxy *p, const char *word, int64_t number, int64_t second) {
    Faults *f = &p->faults;
    if (strcmp(word, "latency") == 0) {
        f->latency_ms = (int)number;
        f->jitter_ms = (int)second;
    } else if (strcmp(word, "rate") == 0)
        f->rate_bytes = number * 1024;
    else if (strcmp(word, "slice") == 0)
        f->slice_bytes = number;
    else if (strcmp(word, "slow_close") == 0)
        f->slow_close_ms = (int)number;
    else
        return false;
    return true;
}

static bool line_word(Proxy *p, const char *word) {
    if (strcmp(word, "hold") == 0)
        p->faults.hold = true;
    else if (strcmp(word, "down") == 0)
        p->faults.refuse = true;
    else if (strcmp(word, "reset") == 0)
        connections_reset(p);
    else if (strcmp(word, "clear") == 0)
        p->faults = (Faults){0};
    else
        return strcmp(word, "stats") == 0;
    return true;
}

static bool line_obey(Proxy *p, const char *line) {
    char word[32], side[32], rest[LINE_MAX_BYTES];
    long long number, second = 0;
    Way way;
    if (sscanf(line, "swallow %31s %511[^\n]", side, rest) == 2)
        return pattern_arm(p, side, rest, 0);
    if (sscanf(line, "late %lld %511[^\n]", &number, rest) == 2)
        return number > 0 && number < INT32_MAX && pattern_arm(p, "up", rest, (int)number);
    if (sscanf(line, "%31s %31s %lld", word, side, &number) == 3 && way_parse(side, &way) && number >= 0) {
        if (strcmp(word, "cut") == 0)
            p->faults.cut_bytes[way] = number;
        else if (strcmp(word, "corrupt") == 0)
            p->faults.corrupt_every[way] = number;
        else
            return false;
        return true;
    }
    if (sscanf(line, "%31s %lld %lld", word, &number, &second) >= 2)
        return number >= 0 && second >= 0 && line_number(p, word, number, second);
    return sscanf(line, "%31s", word) == 1 && line_word(p, word);
}

static void line_answer(Proxy *p, const char *line) {
    char answer[256];
    int open = 0;
    bool obeyed = line_obey(p, line);
    for (int at = 0; at < CONNECTIONS_MAX; at++)
        open += p->connections[at].open;
    int size = obeyed
                   ? snprintf(answer, sizeof answer,
                              "ok connections %d total %llu up %llu down %llu swallowed %llu delayed %llu\n",
                              open, (unsigned long long)p->total, (unsigned long long)p->bytes[UP],
                              (unsigned long long)p->bytes[DOWN], (unsigned long long)p->swallowed,
                              (unsigned long long)p->delayed)
                   : snprintf(answer, sizeof answer, "error: not understood\n");
    if (send(p->talker, answer, (size_t)size, MSG_NOSIGNAL) < 0)
        errno = 0; /* the asker has gone: nobody misses the answer */
}

static void control_read(Proxy *p) {
    ssize_t got = read(p->talker, p->line + p->line_used, sizeof p->line - 1 - p->line_used);
    if (got <= 0) {
        close(p->talker);
        p->talker = -1;
        return;
    }
    p->line_used += (size_t)got;
    p->line[p->line_used] = '\0';
    char *end;
    while ((end = strchr(p->line, '\n')) != NULL) {
        *end = '\0';
        line_answer(p, p->line);
        p->line_used -= (size_t)(end + 1 - p->line);
        memmove(p->line, end + 1, p->line_used + 1);
    }
    if (p->line_used == sizeof p->line - 1)
        p->line_used = 0; /* no line is that long */
}

static void control_take(Proxy *p) {
    int talker = accept(p->control, NULL, NULL);
    if (talker < 0)
        return;
    if (p->talker >= 0)
        close(p->talker);
    p->talker = talker;
    p->line_used = 0;
}

/* ---- the loop ---- */

/* When this connection wants to be looked at again without any event, at most `wait`. */
static int connection_wait_ms(const Proxy *p, const Connection *c, int wait) {
    int64_t now = now_ms();
    for (int way = UP; way <= DOWN; way++) {
        const Flow *flow = &c->flows[way];
        int64_t due = now + wait;
        if (flow->count > 0)
            due = flow->pieces[flow->first % PIECES_MAX]->due_ms + (p->faults.rate_bytes > 0 ? 10 : 0);
        else if (flow->ended_ms >= 0)
            due = flow->ended_ms + p->faults.slow_close_ms;
        if (due - now < wait)
            wait = due > now ? (int)(due - now) : 0;
    }
    return wait;
}

static struct pollfd end_wanted(Proxy *p, Connection *c, Way way) {
    /* The end that sends this way's bytes: it is read for this way and written for the other. */
    const Flow *in = &c->flows[way], *out = &c->flows[way == UP ? DOWN : UP];
    struct pollfd wanted = {.fd = *end_of(c, way, true)};
    if (p->faults.hold) {
        wanted.fd = -1;
        return wanted;
    }
    if (in->count < PIECES_MAX && in->ended_ms < 0)
        wanted.events |= POLLIN;
    if (out->count > 0 && out->pieces[out->first % PIECES_MAX]->due_ms <= now_ms() &&
        p->faults.rate_bytes == 0)
        wanted.events |= POLLOUT;
    if (wanted.events == 0)
        wanted.fd = -1; /* else a hang-up would wake us for ever */
    return wanted;
}

static void connection_turn(Proxy *p, Connection *c, const struct pollfd ends[2]) {
    for (int way = UP; way <= DOWN; way++) {
        if (c->open && c->flows[way].ended_ms < 0 && c->flows[way].count < PIECES_MAX &&
            (ends[way].revents & (POLLIN | POLLHUP | POLLERR)))
            flow_read(p, c, (Way)way);
    }
    for (int way = UP; way <= DOWN; way++) {
        const Flow *flow = &c->flows[way];
        if (c->open && flow->count > 0 && flow->pieces[flow->first % PIECES_MAX]->due_ms <= now_ms())
            flow_write(p, c, (Way)way);
    }
    connection_finish(p, c);
}

static void proxy_turn(Proxy *p) {
    struct pollfd polled[3 + 2 * CONNECTIONS_MAX] = {{.fd = p->listener, .events = POLLIN},
                                                     {.fd = p->control, .events = POLLIN},
                                                     {.fd = p->talker, .events = POLLIN}};
    int wait = FOREVER_MS;
    for (int at = 0; at < CONNECTIONS_MAX; at++) {
        Connection *c = &p->connections[at];
        polled[3 + 2 * at].fd = polled[4 + 2 * at].fd = -1;
        if (!c->open)
            continue;
        polled[3 + 2 * at] = end_wanted(p, c, UP);
        polled[4 + 2 * at] = end_wanted(p, c, DOWN);
        if (!p->faults.hold)
            wait = connection_wait_ms(p, c, wait);
    }
    if (poll(polled, 3 + 2 * CONNECTIONS_MAX, wait > 0 ? wait : 1) < 0 && errno != EINTR)
        die("poll");
    for (int at = 0; at < CONNECTIONS_MAX && !p->faults.hold; at++)
        if (p->connections[at].open)
            connection_turn(p, &p->connections[at], &polled[3 + 2 * at]);
    if (polled[0].revents)
        connection_take(p);
    if (p->talker >= 0 && polled[2].revents)
        control_read(p);
    if (polled[1].revents)
        control_take(p);
}

static int listener_open(int port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) != 0 || listen(fd, 64) != 0)
        die("listen");
    socket_prepare(fd);
    return fd;
}

static int control_open(const char *path) {
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof here.sun_path) {
        errno = ENAMETOOLONG;
        die("control socket");
    }
    memcpy(here.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) != 0 || listen(fd, 8) != 0)
        die("control socket");
    socket_prepare(fd);
    return fd;
}

int main(int argc, char **argv) {
    static Proxy p; /* large, and zeroed */
    if (argc != 5) {
        fprintf(stderr, "usage: fault_proxy LISTEN_PORT TARGET_ADDRESS TARGET_PORT CONTROL_SOCKET\n");
        return 2;
    }
    p.target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
    if (inet_pton(AF_INET, argv[2], &p.target.sin_addr) != 1) {
        fprintf(stderr, "fault_proxy: not an IPv4 address: %s\n", argv[2]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    p.talker = -1;
    p.listener = listener_open(atoi(argv[1]));
    p.control = control_open(argv[4]);
    for (;;)
        proxy_turn(&p);
}
