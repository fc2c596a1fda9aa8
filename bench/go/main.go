// The engine of Centrifugo, the centrifuge library, as a small server: memory broker with history, recovery and
// positioning, JSON over WebSocket, publishing over HTTP. `engine PORT [HISTORY [REDIS]]`; with a REDIS
// (redis://host:port) the broker is that of the library for Redis, so that several of these are one.
//
//	POST /publish  {"channel":..,"data":..,"tags":{..}}, one or several after each other; answers when all are in
//	GET  /history?channel=..&offset=..&epoch=..&limit=..
//	     /ws       the WebSocket of the library's own clients
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
)

const ttl = 600 * time.Second

type publication struct {
	Channel string            `json:"channel"`
	Data    json.RawMessage   `json:"data"`
	Tags    map[string]string `json:"tags"`
}

type stored struct {
	Offset uint64          `json:"offset"`
	Data   json.RawMessage `json:"data"`
}

type page struct {
	Offset       uint64   `json:"offset"`
	Epoch        string   `json:"epoch"`
	Publications []stored `json:"publications"`
}

type engine struct {
	node    *centrifuge.Node
	history int
}

func main() {
	history := 10_000
	if len(os.Args) > 2 {
		history, _ = strconv.Atoi(os.Args[2])
	}
	node, err := centrifuge.New(centrifuge.Config{
		RecoveryMaxPublicationLimit: history,
		HistoryMaxPublicationLimit:  history,
		ClientQueueMaxSize:          64 << 20,
		ClientChannelLimit:          128,
	})
	check(err)
	if len(os.Args) > 3 {
		shareThrough(os.Args[3], node)
	}
	node.OnConnecting(anybody)
	node.OnConnect(mayRecoverAndFilter)
	check(node.Run())
	e := engine{node, history}
	http.Handle("/ws", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		CheckOrigin: func(*http.Request) bool { return true },
	}))
	http.HandleFunc("/publish", e.publish)
	http.HandleFunc("/history", e.read)
	check(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}

func shareThrough(redis string, node *centrifuge.Node) {
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: redis})
	check(err)
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
	check(err)
	node.SetBroker(broker)
}

func anybody(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
}

func mayRecoverAndFilter(client *centrifuge.Client) {
	client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
		done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{
			EnableRecovery: true, EnablePositioning: true, AllowTagsFilter: true,
		}}, nil)
	})
}

func (e engine) publish(w http.ResponseWriter, r *http.Request) {
	for in := json.NewDecoder(r.Body); ; {
		var p publication
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, err := e.node.Publish(p.Channel, p.Data, centrifuge.WithHistory(e.history, ttl), centrifuge.WithTags(p.Tags))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
}

func (e engine) read(w http.ResponseWriter, r *http.Request) {
	number := func(name string) int { n, _ := strconv.Atoi(r.FormValue(name)); return n }
	options := []centrifuge.HistoryOption{centrifuge.WithLimit(number("limit"))}
	if epoch := r.FormValue("epoch"); epoch != "" {
		since := &centrifuge.StreamPosition{Offset: uint64(number("offset")), Epoch: epoch}
		options = append(options, centrifuge.WithSince(since))
	}
	found, err := e.node.History(r.FormValue("channel"), options...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	page := page{found.Offset, found.Epoch, make([]stored, len(found.Publications))}
	for i, p := range found.Publications {
		page.Publications[i] = stored{p.Offset, p.Data}
	}
	body, err := json.Marshal(page)
	check(err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
