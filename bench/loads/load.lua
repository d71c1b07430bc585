-- Script of wrk: load.lua KIND TOPICS HEADERS, with the ports in the variable BENCH_PORTS.
-- KIND get reads the next message of /t<n>/u, post publishes 100 bytes to /t<n>; n cycles over 0 .. TOPICS-1.
-- HEADERS few are what wrk sends; proxied are the thirteen of a client behind a proxy, in requests of which 4,096 in a
-- row differ: each has an id and a trace of its own.
-- Thread k uses the k-th port. The last line on standard output is one JSON object.
local threads = 0

function setup(thread)
  local ports = {}
  for port in os.getenv("BENCH_PORTS"):gmatch("%d+") do ports[#ports + 1] = port end
  thread.addr = wrk.lookup("127.0.0.1", ports[threads % #ports + 1])[1]
  thread:set("first", threads)
  threads = threads + 1
end

function proxied(n)
  return {
    ["Host"] = "localhost",
    ["X-Forwarded-For"] = "203.0.113.7, 198.51.100.3",
    ["X-Forwarded-Proto"] = "https",
    ["X-Forwarded-Host"] = "mail.example",
    ["X-Real-IP"] = "203.0.113.7",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ["Accept"] = "*/*",
    ["Accept-Encoding"] = "gzip, deflate, br",
    ["Accept-Language"] = "en-US,en;q=0.5",
    ["Cache-Control"] = "no-cache",
    ["Content-Type"] = "application/json",
    ["Traceparent"] = string.format("00-4bf92f3577b34da6a3ce929d%08x-00f067aa0ba902b7-01", n),
    ["X-Request-Id"] = string.format("b2f5c3de-7a3e-4b1c-9d7e-2f6a%08x", n),
  }
end

function init(args)
  local topics = tonumber(args[2])
  local many = args[3] == "proxied"
  count = many and math.max(topics, 4096) or topics
  requests = {}
  for n = 0, count - 1 do
    local headers = many and proxied(n) or nil
    if args[1] == "post" then
      requests[n] = wrk.format("POST", "/t" .. n % topics, headers, string.rep("x", 100))
    else
      requests[n] = wrk.format("GET", "/t" .. n % topics .. "/u", headers)
    end
  end
  at = first * 7
end

function request()
  at = at + 1
  return requests[at % count]
end

function done(summary, latency)
  local failed = summary.errors
  print(string.format(
    '{"seconds": %.6f, "requests": %d, "bytes": %d, "p50": %.3f, "p99": %.3f, "status": %d, "socket": %d, "timeout": %d}',
    summary.duration / 1e6, summary.requests, summary.bytes, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    failed.status, failed.connect + failed.read + failed.write, failed.timeout))
end
