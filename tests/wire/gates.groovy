// Java's side of the wire: writes and reads gates with Apicurio's Avro serdes in Confluent's format.
import org.apache.avro.Schema
import org.apache.avro.generic.GenericData
import org.apache.kafka.clients.consumer.KafkaConsumer
import org.apache.kafka.clients.producer.KafkaProducer
import org.apache.kafka.clients.producer.ProducerRecord
import org.apache.kafka.common.TopicPartition

def (mode, kafka, registry, topic, count, schema) = args
def common = ['bootstrap.servers': kafka, 'apicurio.registry.url': registry]
if (mode == 'write') {
    def parsed = new Schema.Parser().parse(schema)
    def producer = new KafkaProducer(common + [
        'key.serializer': 'org.apache.kafka.common.serialization.StringSerializer',
        'value.serializer': 'io.apicurio.registry.serde.avro.AvroKafkaSerializer',
        // the subject of the topic's values: <topic>-value
        'apicurio.registry.artifact-resolver-strategy':
            'io.apicurio.registry.serde.strategy.TopicIdStrategy',
        'apicurio.registry.find-latest': 'true',  // what is registered, whatever its spelling
    ])
    (0..<(count as int)).each { n ->
        def gate = new GenericData.Record(parsed)
        gate.put('gate', "gate $n".toString())
        gate.put('number', n as long)
        producer.send(new ProducerRecord(topic, "gate $n".toString(), gate)).get()
    }
    producer.close()
} else {
    def consumer = new KafkaConsumer(common + [
        'isolation.level': 'read_committed',
        'key.deserializer': 'org.apache.kafka.common.serialization.StringDeserializer',
        'value.deserializer': 'io.apicurio.registry.serde.avro.AvroKafkaDeserializer',
    ])
    def partitions = consumer.partitionsFor(topic).collect { new TopicPartition(topic, it.partition()) }
    consumer.assign(partitions)
    consumer.seekToBeginning(partitions)
    def seen = 0
    def deadline = System.currentTimeMillis() + 20_000
    while (seen < (count as int) && System.currentTimeMillis() < deadline) {
        consumer.poll(java.time.Duration.ofMillis(200)).each { println it.value(); seen++ }
    }
    consumer.close()
}
System.exit(0)  // the registry's client leaves threads behind
