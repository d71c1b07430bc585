-- Script of wrk: load.lua KIND TOPICS, with the ports in the variable BENCH_PORTS.
-- KIND get reads the next message of /t<n>/u, post publishes 100 bytes to /t<n>; n cycles over 0 .. TOPICS-1.
-- Thread k uses the k-th port. The last line on standard output is one JSON object.
local threads = 0

function setup(thread)
  local ports = {}
  for port in os.getenv("BENCH_PORTS"):gmatch("%d+") do ports[#ports + 1] = port end
  thread.addr = wrk.lookup("127.0.0.1", ports[threads % #ports + 1])[1]
  thread:set("first", threads)
  threads = threads + 1
end

function init(args)
  local topics = tonumber(args[2])
  requests = {}
  for n = 0, topics - 1 do
    if args[1] == "post" then
      requests[n] = wrk.format("POST", "/t" .. n, nil, string.rep("x", 100))
    else
      requests[n] = wrk.format("GET", "/t" .. n .. "/u")
    end
  end
  count = topics
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
