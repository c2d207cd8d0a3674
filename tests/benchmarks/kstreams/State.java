import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The workloads of state in Kafka Streams with RocksDB, as one would write them for speed.
 *
 * <p>Keys are bytes, events are GenericRecord, states a few bytes. Emits what the product does: one
 * row per event, or a window once when it closes. Configured by the environment; see peer.py.
 */
public class State {
  static final String LATEST = "latest";
  static final Duration HOUR = Duration.ofHours(1);

  static String env(String name) {
    return System.getenv(name);
  }

  static Schema schema(String name) throws IOException {
    return new Schema.Parser().parse(Files.readString(Path.of(env(name))));
  }

  /** Events of one schema, framed by its id in the registry. */
  static Serde<GenericRecord> events(Schema schema, int id) {
    return Serdes.serdeFrom(new Writer(schema, id), new Reader(schema));
  }

  static class Reader implements Deserializer<GenericRecord> {
    static final int FRAME_BYTES = 5;
    final GenericDatumReader<GenericRecord> reader;
    BinaryDecoder decoder;

    Reader(Schema schema) {
      reader = new GenericDatumReader<>(schema);
    }

    @Override
    public GenericRecord deserialize(String topic, byte[] bytes) {
      if (bytes == null) return null;
      try {
        int length = bytes.length - FRAME_BYTES;
        decoder = DecoderFactory.get().binaryDecoder(bytes, FRAME_BYTES, length, decoder);
        return reader.read(null, decoder);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  static class Writer implements Serializer<GenericRecord> {
    final byte[] frame;
    final GenericDatumWriter<GenericRecord> writer;
    final ByteArrayOutputStream out = new ByteArrayOutputStream(256);
    BinaryEncoder encoder;

    Writer(Schema schema, int id) {
      frame = ByteBuffer.allocate(5).put((byte) 0).putInt(id).array();
      writer = new GenericDatumWriter<>(schema);
    }

    @Override
    public byte[] serialize(String topic, GenericRecord record) {
      if (record == null) return null;
      try {
        out.reset();
        out.write(frame);
        encoder = EncoderFactory.get().directBinaryEncoder(out, encoder);
        writer.write(record, encoder);
        encoder.flush();
        return out.toByteArray();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  /** Count and sum of a window: sixteen bytes in the store. */
  record Tally(long count, double sum) {
    static final Serializer<Tally> WRITER =
        (topic, tally) ->
            tally == null
                ? null
                : ByteBuffer.allocate(16).putLong(tally.count).putDouble(tally.sum).array();
    static final Deserializer<Tally> READER =
        (topic, bytes) -> {
          if (bytes == null) return null;
          ByteBuffer buffer = ByteBuffer.wrap(bytes);
          return new Tally(buffer.getLong(), buffer.getDouble());
        };
  }

  /** Lets an event through unless its key had a later one. */
  static class Latest implements FixedKeyProcessor<Bytes, GenericRecord, GenericRecord> {
    final int at;
    FixedKeyProcessorContext<Bytes, GenericRecord> context;
    KeyValueStore<Bytes, Long> seen;

    Latest(int at) {
      this.at = at;
    }

    @Override
    public void init(FixedKeyProcessorContext<Bytes, GenericRecord> given) {
      context = given;
      seen = given.getStateStore(LATEST);
    }

    @Override
    public void process(FixedKeyRecord<Bytes, GenericRecord> record) {
      Long time = (Long) record.value().get(at);
      Long before = seen.get(record.key());
      if (before != null && time < before) return;
      seen.put(record.key(), time);
      context.forward(record);
    }
  }

  static class Topology {
    final StreamsBuilder builder = new StreamsBuilder();
    final Schema in = schema("IN_SCHEMA");
    final Schema out = schema("OUT_SCHEMA");
    final int at = in.getField("at").pos();
    final int value = in.getField("value").pos();
    final Serde<Bytes> keys = Serdes.Bytes();

    Topology() throws IOException {}

    KStream<Bytes, GenericRecord> input() {
      return builder.stream(
          env("IN"),
          Consumed.with(keys, events(in, 0))
              .withTimestampExtractor((each, last) -> (Long) ((GenericRecord) each.value()).get(at)));
    }

    KStream<Bytes, GenericRecord> latest() {
      builder.addStateStore(
          Stores.keyValueStoreBuilder(
                  Stores.persistentKeyValueStore(LATEST), keys, Serdes.Long())
              .withCachingEnabled());
      return input().processValues(() -> new Latest(at), LATEST);
    }

    KStream<Bytes, GenericRecord> table() throws IOException {
      var table = builder.table(env("TABLE"), Consumed.with(keys, rows()), stored());
      return input().leftJoin(table, this::joined, Joined.with(keys, events(in, 0), rows()));
    }

    KStream<Bytes, GenericRecord> broadcast() throws IOException {
      var table = builder.globalTable(env("TABLE"), Consumed.with(keys, rows()), stored());
      return input().leftJoin(table, (key, event) -> key, this::joined);
    }

    Serde<GenericRecord> rows() throws IOException {
      return events(schema("TABLE_SCHEMA"), 0);
    }

    Materialized<Bytes, GenericRecord, KeyValueStore<Bytes, byte[]>> stored() throws IOException {
      return Materialized.<Bytes, GenericRecord>as(Stores.persistentKeyValueStore("table"))
          .withKeySerde(keys)
          .withValueSerde(rows());
    }

    GenericRecord joined(GenericRecord event, GenericRecord row) {
      GenericRecord made = new GenericData.Record(out);
      for (int field = 0; field < 3; field++) made.put(field, event.get(field));
      made.put(3, row == null ? null : row.get(1));
      made.put(4, row == null ? null : row.get(2));
      return made;
    }

    KStream<Bytes, GenericRecord> windows(TimeWindows windows) {
      return input()
          .groupByKey(Grouped.with(keys, events(in, 0)))
          .windowedBy(windows)
          .emitStrategy(EmitStrategy.onWindowClose())
          .aggregate(
              () -> new Tally(0, 0),
              (key, event, tally) ->
                  new Tally(tally.count + 1, tally.sum + (Double) event.get(value)),
              Materialized.with(keys, Serdes.serdeFrom(Tally.WRITER, Tally.READER)))
          .toStream()
          .map((key, tally) -> org.apache.kafka.streams.KeyValue.pair(key.key(), row(key, tally)));
    }

    GenericRecord row(Windowed<Bytes> key, Tally tally) {
      GenericRecord made = new GenericData.Record(out);
      made.put(0, new String(key.key().get(), java.nio.charset.StandardCharsets.UTF_8));
      made.put(1, key.window().start());
      made.put(2, key.window().end());
      made.put(3, tally.count);
      made.put(4, tally.sum);
      made.put(5, tally.sum / tally.count);
      return made;
    }

    KStream<Bytes, GenericRecord> output(String job) throws IOException {
      TimeWindows hours = TimeWindows.ofSizeAndGrace(HOUR, Duration.ofMinutes(1));
      return switch (job) {
        case "latest" -> latest();
        case "table-join" -> table();
        case "broadcast-join" -> broadcast();
        case "tumbling" -> windows(hours);
        case "hopping" -> windows(hours.advanceBy(Duration.ofMinutes(10)));
        default -> throw new IllegalArgumentException(job);
      };
    }
  }

  static Properties settings() {
    Properties settings = new Properties();
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, env("GROUP"));
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, env("KAFKA"));
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, env("COMMIT_MS"));
    settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, env("CACHE_BYTES"));
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, env("STATE_DIR"));
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
    settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 5000);
    var consumer = StreamsConfig.consumerPrefix("");
    settings.put(consumer + ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    settings.put(consumer + ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 5000);
    settings.put(consumer + ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4 << 20);
    var producer = StreamsConfig.producerPrefix("");
    settings.put(producer + ProducerConfig.BATCH_SIZE_CONFIG, 1 << 18);
    settings.put(producer + ProducerConfig.LINGER_MS_CONFIG, 20);
    settings.put(producer + ProducerConfig.BUFFER_MEMORY_CONFIG, 64 << 20);
    settings.put(producer + ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
    return settings;
  }

  public static void main(String[] arguments) throws IOException {
    Topology topology = new Topology();
    Serde<GenericRecord> written = events(topology.out, Integer.parseInt(env("OUT_ID")));
    topology.output(env("JOB")).to(env("OUT"), Produced.with(topology.keys, written));
    Properties settings = settings();
    KafkaStreams streams = new KafkaStreams(topology.builder.build(settings), settings);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
          return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
    streams.start();
  }
}
